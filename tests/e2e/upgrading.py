"""Upgrade a real cluster, and check that all of it has the new releases."""

import json
import re
import time

from tests.e2e import etcd
from tests.e2e.conftest import OLDER, ROOT, VERSION, Cluster, Run, run_command
from tests.e2e.requester import APPLICATION, demand, deploy, requester
from tests.e2e.writer import lost_writes, outside

UPGRADE = ROOT / "deploys/upgrade.py"
OLD_CONTAINERD = "2.2.3"
NEW_CONTAINERD = "2.3.4"
OLD_RUNC, NEW_RUNC = "1.4.2", "1.4.3"

NEW = (f"--data=kubernetes_version={VERSION}", f"--data=containerd_version={NEW_CONTAINERD}")
"""The releases to upgrade to: the hosts' data in the inventory has the older ones."""

PLANES = "--data=only=control_plane"
"""A run for the control planes, and another one for the rest: each has to end within the tests' limit for a run."""

SPREAD = "--data=node_taints=[]"
"""Lets control planes take pods, so that each node's pods have another place while it is drained."""

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


def upgrade_under_requests(cluster: Cluster, *, writes_from: str) -> str:
    """Upgrade everything while pods run on every node, one is requested and the API is written to; return what was measured.

    The first run stops at a pod that may not be evicted, the second is for control planes, and the third for a worker that
    the operator has cordoned. ``writes_from`` is the machine whose own API server, or local proxy, the writes go to.
    """
    deploy(cluster)
    spread(cluster)
    before = state(cluster)
    with (
        requester(cluster, through=cluster.control_plane) as requests,
        outside(cluster, name="writer", network=f"container:{writes_from}", address="127.0.0.1") as writer,
    ):
        requests.works_on()
        writer.works_on()
        began = time.time()
        # Two of the nodes have a pod that may not be evicted.
        demand(cluster, available=2)
        stopped = upgrade(cluster, "--data=drain_timeout=30")
        assert_stopped_at_a_drain(cluster, stopped.output, before=before)
        assert stopped.exit_code == 1
        demand(cluster, available=1)
        planes = upgrade(cluster, PLANES)
        assert planes.exit_code == 0, planes.output
        cluster.kubectl("cordon", cluster.worker)
        run = upgrade(cluster)
        assert run.exit_code == 0, run.output
        took = time.time() - began
        requests.works_on()
        writer.works_on()
        asked, failures, gap = len(requests.lines()), requests.failures(), writer.longest_gap(since=began)
        assert failures == []
        assert lost_writes(cluster, writer) == set()
    # The operator has cordoned it.
    cordoned = ("get", "node", cluster.worker, "--output=jsonpath={.spec.unschedulable}")
    assert cluster.kubectl(*cordoned) == "true"
    cluster.kubectl("uncordon", cluster.worker)
    # The worker may have lost a pod of cluster DNS.
    assert set(cluster.converge(*NEW, SPREAD).changed) <= {"Readiness | Wait for nodes, network and DNS"}
    assert_upgraded(cluster)
    assert etcd.voters(cluster) == cluster.control_planes
    return (
        f"upgraded in {took:.0f} s, in three runs: {len(failures)} of {asked} requests failed, longest time "
        f"without a write {gap:.1f} s"
    )


def spread(cluster: Cluster) -> None:
    """Let pods run on every node, and the application's on two of them."""
    cluster.converge(SPREAD)
    cluster.kubectl("rollout", "restart", f"deployment/{APPLICATION}")
    cluster.kubectl("rollout", "status", f"deployment/{APPLICATION}", "--timeout=120s")


def assert_stopped_at_a_drain(cluster: Cluster, output: str, *, before: dict[str, str]) -> None:
    """Assert that a run has named a node that it could not drain, and has changed nothing on it but static pods."""
    found = re.search(r"(\S+): was not drained within 30 s \((.*)", output)
    assert found, output
    assert "disruption budget" in found[2] and "pods/" in found[2], output
    assert "it takes pods again" in output
    node = json.loads(cluster.kubectl("get", "node", found[1], "--output=json"))
    assert "unschedulable" not in node["spec"]
    assert node["status"]["nodeInfo"]["kubeletVersion"] == f"v{OLDER}"
    versions = cluster.shell(found[1], "dpkg-query --show kubelet; containerd --version")
    assert OLDER in versions and OLD_CONTAINERD in versions
    if found[1] != cluster.worker:
        assert state(cluster)[cluster.worker].splitlines()[:3] == before[cluster.worker].splitlines()[:3]
