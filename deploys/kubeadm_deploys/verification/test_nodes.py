"""Every machine is a ready node of the cluster, under its own name and address, with its kubelet in order."""

import json
import re
import tomllib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from cryptography import x509

from kubeadm_deploys.verification.cluster import Cluster, condition, node_address
from kubeadm_deploys.verification.inventory import CONTROL_PLANE, Machine
from kubeadm_deploys.verification.options import Selection
from kubeadm_deploys.verification.remote import Answers, ask

COMMANDS = {
    "kubelet": "systemctl show kubelet.service --property=ActiveState,UnitFileState,NeedDaemonReload",
    "kubelet version": "kubelet --version",
    "kubelet configuration": "cat /var/lib/kubelet/config.yaml",
    # The file holds the private key as well, which must not leave the machine.
    "kubelet certificate": (
        "sed -n '/BEGIN CERTIFICATE/,/END CERTIFICATE/p' /var/lib/kubelet/pki/kubelet-client-current.pem"
    ),
    "containerd configuration": "containerd config dump",
    # systemd's own hierarchy: the only one with cgroup v2, the one named after it with v1.
    "pod cgroups": (
        "grep --no-filename --extended-regexp '^(0:|[0-9]+:name=systemd):.*(kubepods|cri-containerd)' "
        "/proc/[0-9]*/cgroup | sort --unique"
    ),
    "images of kubeadm": (
        "kubeadm config images list --kubernetes-version $(kubeadm version --output=short)"
    ),
}

_IN_SLICE = re.compile(r"/kubepods\.slice/.*\.slice/cri-containerd-[0-9a-f]{64}\.scope$")

_LOOPBACK = "127.0.0.1"
SHORTEST_VALIDITY = timedelta(days=30)


def test_node_is_ready(node: Any) -> None:
    assert condition(node, "Ready") == "True", node["status"]["conditions"]


@pytest.mark.parametrize("pressure", ["MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"])
def test_node_is_not_in_trouble(node: Any, pressure: str) -> None:
    assert condition(node, pressure) in ("False", "missing"), node["status"]["conditions"]


def test_node_has_the_wanted_address(node: Any, machine: Machine) -> None:
    if "node_ip" not in machine.data:
        pytest.skip("the inventory's data name no node_ip")
    assert node_address(node) == machine.data["node_ip"]


def test_node_is_known_to_its_cloud(node: Any, machine: Machine) -> None:
    if machine.data.get("cloud_provider", "none") == "none" or "provider_id" not in machine.data:
        pytest.skip("the inventory's data name no cloud_provider, or no provider_id")
    assert node["spec"].get("providerID") == machine.data["provider_id"]


def test_endpoint_leads_to_the_api_server_of_this_node(
    node: Any, machine: Machine, nodes: dict[str, Any], selection: Selection, kubeadm_configuration: Any
) -> None:
    """A control plane that goes to itself by way of others fails with them; behind many load balancers it hangs."""
    endpoint = kubeadm_configuration["controlPlaneEndpoint"].rpartition(":")[0]
    lookups = {"hosts": f"getent --service=files ahostsv4 {endpoint}", "all": f"getent ahostsv4 {endpoint}"}
    answers = ask(machine, lookups)
    if answers["hosts"].status != 0:
        pytest.skip(
            f"NOT CHECKED: {machine.name} finds {endpoint} by DNS and not in its hosts file, and what DNS answers is not "
            "judged"
        )
    found = {line.split()[0] for line in answers["all"].lines}
    if CONTROL_PLANE in machine.groups:
        wanted = {node_address(node)}
    elif found == {_LOOPBACK}:
        # A proxy of the worker's own; test_workers looks that API servers answer behind it.
        wanted = found
    elif address := machine.data.get("load_balancer_address"):
        wanted = {address}
    else:
        wanted = found & {node_address(nodes[each.node_name]) for each in selection.control_planes}
    assert found == wanted


def test_node_runs_the_installed_kubelet(node: Any, answers: Answers) -> None:
    assert answers["kubelet version"].text == f"Kubernetes {node['status']['nodeInfo']['kubeletVersion']}"


def test_node_uses_containerd(node: Any) -> None:
    assert node["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://")


def test_kubelet_is_running_and_enabled(answers: Answers) -> None:
    unit = dict(line.split("=", 1) for line in answers["kubelet"].lines)
    assert unit == {"ActiveState": "active", "UnitFileState": "enabled", "NeedDaemonReload": "no"}


def test_kubelet_is_configured_for_systemd_cgroups(answers: Answers) -> None:
    assert _kubelet_configuration(answers)["cgroupDriver"] == "systemd"


def test_running_kubelet_uses_systemd_cgroups(cluster: Cluster, machine: Machine) -> None:
    answer = cluster.kubectl("get", f"--raw=/api/v1/nodes/{machine.node_name}/proxy/configz")
    assert json.loads(answer.text)["kubeletconfig"]["cgroupDriver"] == "systemd"


def test_pods_live_in_systemd_slices(answers: Answers) -> None:
    """What the running kubelet, containerd and runc make of it; another driver makes plain folders."""
    paths = [line.rpartition(":")[2] for line in answers["pod cgroups"].lines]
    assert paths, "there is no process of a pod"
    assert not [path for path in paths if not _IN_SLICE.search(path)]


def test_kubelet_tolerates_swap_that_is_kept(answers: Answers, machine: Machine) -> None:
    if machine.data.get("swap") != "keep":
        pytest.skip(f"the inventory does not keep swap on {machine.name}; test_swap looks that it is off")
    assert _kubelet_configuration(answers)["failSwapOn"] is False


def test_sandbox_image_is_that_of_kubeadm(answers: Answers) -> None:
    """test_container_runtime looks that the daemon runs with the configuration on disk."""
    images = [image for image in answers["images of kubeadm"].lines if "/pause:" in image]
    assert _sandbox_images(tomllib.loads(answers["containerd configuration"].text)) == images


def test_kubelet_certificate_is_valid_for_long(answers: Answers) -> None:
    certificates = x509.load_pem_x509_certificates(answers["kubelet certificate"].text.encode())
    assert certificates[0].not_valid_after_utc - datetime.now(UTC) > SHORTEST_VALIDITY


def _sandbox_images(configuration: dict[str, Any]) -> list[str]:
    """The one sandbox image, where containerd 2 has it or where containerd 1 had it."""
    plugins = configuration["plugins"].values()
    now = [plugin["pinned_images"]["sandbox"] for plugin in plugins if "pinned_images" in plugin]
    return now or [plugin["sandbox_image"] for plugin in plugins if "sandbox_image" in plugin]


def _kubelet_configuration(answers: Answers) -> Any:
    return yaml.safe_load(answers["kubelet configuration"].text)
