"""An upgrade whose operator goes away while kubeadm runs, and one of a kubelet that does not start.

Part of `make chaos`, for their length: an upgrade by a minor takes some minutes. The tests share a cluster in this order.
"""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import OLDER, Cluster, docker_hosts
from tests.e2e.recovery import await_on, start
from tests.e2e.upgrading import NEW, OLD_CONTAINERD, UPGRADE, assert_upgraded, upgrade

DROP_IN = "/etc/systemd/system/kubelet.service.d/only-the-old.conf"


@pytest.fixture(scope="module")
def cluster(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    data = {"kubernetes_version": OLDER, "containerd_version": OLD_CONTAINERD, "node_taints": []}
    folder = tmp_path_factory.mktemp("upgrade-faults")
    with docker_hosts("upgrade-faults", folder=folder, debian=(12,), data=data) as made:
        made.converge()
        yield made


@pytest.mark.chaos
def test_a_kubeadm_that_outlives_its_operator_is_waited_for(cluster: Cluster) -> None:
    host = cluster.control_plane
    with start(cluster, *NEW, "--data=backup=false", "--data=only=control_plane", deploy=UPGRADE) as run:
        # kubeadm then replaces etcd and the API server.
        reached = "systemctl is-active --quiet kubeadm-deploys-kubeadm && ls -d /etc/kubernetes/tmp/kubeadm-upgraded-*"
        await_on(cluster, host, run, what="kubeadm's new manifests", reached=reached)
    again = upgrade(cluster, "--data=only=control_plane")
    assert again.exit_code == 0, again.output
    assert f"{host}: kubeadm of an earlier run is still running" in again.output
    assert f"left out: {cluster.worker}" in again.output


@pytest.mark.chaos
def test_the_old_kubelet_is_put_back_if_the_new_one_does_not_start(cluster: Cluster) -> None:
    worker = cluster.worker
    check = f'ExecStartPre=/bin/sh -c "kubelet --version | grep --quiet --fixed-strings v{OLDER}"'
    cluster.shell(worker, f"mkdir -p $(dirname {DROP_IN}) && printf '[Service]\\n{check}\\n' > {DROP_IN}")
    failed = upgrade(cluster)
    assert failed.exit_code == 1
    assert f"{worker}: the kubelet of {OLDER} is back and runs" in failed.output, failed.output
    assert "kubelet.service does not run as it should" in failed.output
    assert cluster.shell(worker, "systemctl is-active kubelet") == "active"
    node = json.loads(cluster.kubectl("get", "node", worker, "--output=json"))
    assert node["status"]["nodeInfo"]["kubeletVersion"] == f"v{OLDER}"
    assert "and the node takes pods again" in failed.output
    assert "unschedulable" not in node["spec"]
    assert worker in cluster.ready_nodes
    cluster.shell(worker, f"rm {DROP_IN}")
    done = upgrade(cluster)
    assert done.exit_code == 0, done.output
    assert_upgraded(cluster)
    assert cluster.converge(*NEW).changed == []
