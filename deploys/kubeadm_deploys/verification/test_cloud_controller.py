"""Hetzner's cloud controller and CSI driver work: every node is known to the cloud.

Skipped unless ``cloud_provider`` is ``hetzner``.
"""

from typing import Any

import pytest

from kubeadm_deploys.verification.cluster import Cluster, node_address
from kubeadm_deploys.verification.inventory import Machine
from kubeadm_deploys.verification.options import Selection
from kubeadm_deploys.verification.remote import Answers
from kubeadm_deploys.verification.waiting import READY_TIMEOUT, eventually

COMMANDS = {"kubelet flags": "xargs --null --max-args=1 < /proc/$(pidof -s kubelet)/cmdline"}

UNINITIALIZED = "node.cloudprovider.kubernetes.io/uninitialized"

TOKEN_LENGTH = 64


@pytest.fixture(autouse=True)
def needs_hetzner(selection: Selection) -> None:
    """Skip the tests of a cluster that is not on Hetzner."""
    if not any(machine.data.get("cloud_provider") == "hetzner" for machine in selection.nodes):
        pytest.skip("cloud_provider is not hetzner in the inventory")


def test_kubelet_leaves_the_node_to_the_cloud(answers: Answers) -> None:
    assert "--cloud-provider=external" in answers["kubelet flags"].lines


def test_node_is_initialized(node: Any) -> None:
    taints = [taint["key"] for taint in node["spec"].get("taints", [])]
    assert UNINITIALIZED not in taints, (
        f"the cloud controller has not found the server of {node['metadata']['name']}; check that a server "
        "of this name exists in the token's project"
    )


def test_node_is_a_server_of_the_cloud(node: Any) -> None:
    prefix, _, number = node["spec"].get("providerID", "").partition("://")
    assert (prefix, number.isdigit()) == ("hcloud", True), node["spec"]


def test_node_has_the_labels_of_its_server(node: Any, machine: Machine) -> None:
    labels = node["metadata"]["labels"]
    assert labels.get("node.kubernetes.io/instance-type")
    region = labels.get("topology.kubernetes.io/region")
    assert region
    assert region == machine.data.get("hcloud_location", region)


def test_node_keeps_its_address_in_the_network(node: Any, machine: Machine) -> None:
    """The cloud controller sets the node's addresses to those of the network that its Secret names."""
    assert node_address(node), node["status"]["addresses"]
    assert node_address(node) == machine.data.get("node_ip", node_address(node))


def test_secret_names_project_and_network(cluster: Cluster, selection: Selection) -> None:
    """Only the token's length is read, so that the token never leaves the cluster."""
    template = "{{len (base64decode .data.token)}} {{base64decode .data.network}}"
    answer = cluster.kubectl(
        "get", "secret", "hcloud", "--namespace=kube-system", f"--output=go-template={template}"
    )
    length, network = answer.text.split()
    assert int(length) == TOKEN_LENGTH
    assert network in {machine.data.get("hcloud_network", network) for machine in selection.control_planes}


@pytest.mark.parametrize("name", ["hcloud-cloud-controller-manager", "hcloud-csi-controller"])
def test_deployment_is_available(cluster: Cluster, name: str) -> None:
    deployment = eventually(
        lambda: cluster.get("deployment", name, "--namespace=kube-system"),
        problem=lambda found: "" if available(found) else str(found["status"]),
        timeout=READY_TIMEOUT,
    )
    assert deployment["spec"]["replicas"] > 0


def available(deployment: Any) -> bool:
    """Return whether all desired pods are available and up to date."""
    status, desired = deployment["status"], deployment["spec"]["replicas"]
    return bool(status.get("availableReplicas", 0) >= desired and status.get("updatedReplicas", 0) == desired)


def test_csi_driver_runs_on_every_node(cluster: Cluster, nodes: dict[str, Any]) -> None:
    eventually(
        lambda: cluster.get("daemonset", "hcloud-csi-node", "--namespace=kube-system")["status"],
        problem=lambda status: (
            ""
            if status["desiredNumberScheduled"] == status.get("numberAvailable", 0) == len(nodes)
            else f"not available on all of {len(nodes)} nodes: {status}"
        ),
        timeout=READY_TIMEOUT,
    )


def test_cloud_provides_the_default_storage_class(cluster: Cluster) -> None:
    assert cluster.get("csidriver", "csi.hetzner.cloud")["spec"]["attachRequired"]
    default = [
        storage_class["provisioner"]
        for storage_class in cluster.items("storageclasses")
        if storage_class["metadata"].get("annotations", {}).get("storageclass.kubernetes.io/is-default-class")
        == "true"
    ]
    assert default == ["csi.hetzner.cloud"]
