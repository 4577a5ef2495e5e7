"""Read etcd's members on a control plane with etcdctl itself."""

import json
import time
from typing import Any

from tests.e2e.conftest import Cluster

_SECONDS = 60

_FOLDER = "/etc/kubernetes/pki/etcd"
_ETCDCTL = (
    "crictl --runtime-endpoint unix:///run/containerd/containerd.sock exec "
    "$(crictl --runtime-endpoint unix:///run/containerd/containerd.sock ps --quiet --name '^etcd$') "
    "etcdctl --endpoints https://127.0.0.1:2379 --write-out json --command-timeout 30s "
    f"--cacert {_FOLDER}/ca.crt --cert {_FOLDER}/server.crt --key {_FOLDER}/server.key"
)


def members(cluster: Cluster, *, host: str) -> list[dict[str, Any]]:
    """Return all members that this control plane's etcd knows."""
    return list(json.loads(cluster.shell(host, f"{_ETCDCTL} member list --consistency=s"))["members"])


def voters(cluster: Cluster) -> list[str]:
    """Return the members' names; assert that each member votes and is healthy."""
    host = cluster.control_plane
    all_members = members(cluster, host=host)
    health = json.loads(cluster.shell(host, f"{_ETCDCTL} endpoint health --cluster"))
    assert len(health) == len(all_members)
    assert all(endpoint["health"] for endpoint in health), health
    assert not [member for member in all_members if member.get("isLearner")]
    return sorted(member["name"] for member in all_members)


def await_voters(cluster: Cluster, *, names: list[str]) -> None:
    """Wait until exactly these members vote and are healthy: after a start, some are slower than others."""
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            assert voters(cluster) == names
            return
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
