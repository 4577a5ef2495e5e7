"""Three control planes are upgraded by a minor, and on the second one the new etcd does not start.

Part of `make chaos`, for its length.
"""

import time

import pytest

from tests.e2e import etcd
from tests.e2e.conftest import OLDER, Cluster, docker_hosts
from tests.e2e.upgrading import OLD_CONTAINERD, PLANES, assert_upgraded, upgrade

RELEASES = "dpkg-query --show kubeadm kubelet kubectl; sha256sum /etc/kubernetes/manifests/*"

# Takes the port of etcd's metrics as soon as the old etcd has released it, so that no other etcd starts.
TAKE_PORT = (
    "systemd-run --quiet --unit=takes-port sh -c "
    "'until socat -u TCP-LISTEN:2381,bind=127.0.0.1,reuseaddr,fork OPEN:/dev/null; do sleep 0.05; done'"
)

# A restarted kubelet starts a failing pod at once, instead of after minutes.
GIVE_PORT_BACK = "systemctl stop takes-port; systemctl restart kubelet"

_SECONDS = 300


@pytest.mark.chaos
def test_an_etcd_that_does_not_start_again_stops_the_upgrade_at_its_control_plane(
    lab: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("upgrade-etcd")
    data = {"kubernetes_version": OLDER, "containerd_version": OLD_CONTAINERD}
    with docker_hosts("upgrade-etcd", folder=folder, control_planes=3, debian=(12,), data=data) as cluster:
        cluster.converge()
        _, second, third = cluster.control_planes
        before = cluster.shell(third, RELEASES)
        cluster.shell(second, TAKE_PORT)
        run = upgrade(cluster, PLANES, "--data=settle_timeout=60")
        assert run.exit_code == 1
        assert f"{second}: kubeadm upgrade node" in run.output, run.output
        assert f"{third}: kubeadm upgrade node" not in run.output
        assert cluster.shell(third, RELEASES) == before
        # Two of three serve.
        cluster.kubectl("create", "configmap", "written-with-two-of-three")
        cluster.shell(second, GIVE_PORT_BACK)
        etcd.await_voters(cluster, names=sorted(cluster.control_planes))
        await_ready(cluster, second)
        for arguments in ((PLANES,), ()):
            run = upgrade(cluster, *arguments)
            assert run.exit_code == 0, run.output
        assert_upgraded(cluster)
        cluster.kubectl("get", "configmap", "written-with-two-of-three")
        assert len(etcd.voters(cluster)) == 3


def await_ready(cluster: Cluster, control_plane: str) -> None:
    """Wait until a control plane's API server is ready, and every node is."""
    asked = "curl --insecure --silent --fail --max-time 5 --output /dev/null https://127.0.0.1:6443/readyz"
    cluster.shell(control_plane, f"timeout {_SECONDS} sh -c 'until {asked}; do sleep 1; done'")
    deadline = time.monotonic() + _SECONDS
    while cluster.ready_nodes != sorted(host.name for host in cluster.hosts):
        assert time.monotonic() < deadline, cluster.ready_nodes
        time.sleep(1)
