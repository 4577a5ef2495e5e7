"""Upgrade a real cluster, and check that all of it has the new releases."""

import json

from tests.e2e.conftest import ROOT, VERSION, Cluster, Run, run_command

UPGRADE = ROOT / "deploys/upgrade.py"
OLD_CONTAINERD = "2.2.3"
NEW_CONTAINERD = "2.3.4"
OLD_RUNC, NEW_RUNC = "1.4.2", "1.4.3"

NEW = (f"--data=kubernetes_version={VERSION}", f"--data=containerd_version={NEW_CONTAINERD}")
"""The releases to upgrade to: the hosts' data in the inventory has the older ones."""

PLANES = "--data=only=control_plane"
"""A run for the control planes, and another one for the rest: each has to end within the tests' limit for a run."""

_STATE = """
dpkg-query --show kubeadm kubelet kubectl; apt-mark showhold; containerd --version
sha256sum /etc/kubernetes/manifests/* /var/lib/kubelet/config.yaml /etc/containerd/config.toml /etc/apt/sources.list.d/* 2> /dev/null
crictl --runtime-endpoint unix:///run/containerd/containerd.sock ps --quiet | sort
"""


def upgrade(cluster: Cluster, *arguments: str, passphrase: str = "") -> Run:
    """Run upgrade.py for real; with a passphrase, a backup is written into the cluster's folder first."""
    backup = f"--data=folder={cluster.folder}" if passphrase else "--data=backup=false"
    command = cluster.command("-y", "--json", *NEW, backup, *arguments, deploy=UPGRADE)
    return run_command(*command, environment={"CLUSTER": cluster.name, "BACKUP_PASSPHRASE": passphrase})


def state(cluster: Cluster) -> dict[str, str]:
    """Return what an upgrade would change, by host."""
    return {host.name: cluster.shell(host.name, _STATE) for host in cluster.hosts}


def assert_upgraded(cluster: Cluster) -> None:
    """Assert that every node, static pod and add-on has the new releases, and that no node is left cordoned."""
    nodes = json.loads(cluster.kubectl("get", "nodes", "--output=json"))["items"]
    assert len(nodes) == len(cluster.hosts)
    for node in nodes:
        info = node["status"]["nodeInfo"]
        assert info["kubeletVersion"] == f"v{VERSION}"
        assert info["containerRuntimeVersion"] == f"containerd://{NEW_CONTAINERD}"
        assert "unschedulable" not in node["spec"]
        assert not any(key.startswith("kubeadm-deploys/") for key in node["metadata"].get("annotations", {}))
    pods = json.loads(cluster.kubectl("get", "pods", "--namespace=kube-system", "--output=json"))["items"]
    images = {
        container["image"]
        for pod in pods
        for container in pod["spec"]["containers"]
        if container["image"].startswith("registry.k8s.io/kube-")
    }
    assert {image.rpartition(":")[2] for image in images} == {f"v{VERSION}"}, images
    record = json.loads(
        cluster.kubectl("get", "configmap", "kubeadm-deploys", "--namespace=kube-system", "--output=json")
    )
    assert "upgrade" not in record["data"]
    assert json.loads(record["data"]["releases"])["containerd"] == NEW_CONTAINERD
    for host in cluster.hosts:
        assert {"kubeadm", "kubelet", "kubectl"} <= set(cluster.shell(host.name, "apt-mark showhold").split())
