"""etcd's members, asked on a control plane by etcdctl itself."""

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
    """All members as this control plane's etcd knows them."""
    return list(json.loads(cluster.shell(host, f"{_ETCDCTL} member list --consistency=s"))["members"])


def voters(cluster: Cluster) -> list[str]:
    """Names of the members; asserts that each has a vote and answers."""
    host = cluster.control_plane
    found = members(cluster, host=host)
    health = json.loads(cluster.shell(host, f"{_ETCDCTL} endpoint health --cluster"))
    assert len(health) == len(found)
    assert all(each["health"] for each in health), health
    assert not [member for member in found if member.get("isLearner")]
    return sorted(member["name"] for member in found)


def await_voters(cluster: Cluster, *, names: list[str]) -> None:
    """Wait until these are the members, and each has a vote and answers: after a start some come later than others."""
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            assert voters(cluster) == names
            return
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
