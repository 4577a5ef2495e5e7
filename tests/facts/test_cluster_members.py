"""The members of a cluster as etcdctl and kubectl print them."""

import json

import pytest

from kubeadm_deploys.facts.cluster_members import ClusterMembers
from kubeadm_deploys.facts.etcd import EtcdHealth, EtcdMember, EtcdMembers
from tests.support.machines import A, B, W, registered

MEMBER_LIST = json.dumps(
    {
        "members": [
            {"ID": 16295338496780830936, "name": "a", "peerURLs": ["https://10.0.0.1:2380"]},
            {"ID": 5, "peerURLs": ["https://10.0.0.2:2380"], "isLearner": True},
        ]
    }
)


def test_etcdctls_output_is_parsed() -> None:
    assert EtcdMembers().process([MEMBER_LIST]) == (
        EtcdMember(id=f"{16295338496780830936:x}", name="a", peer_ip="10.0.0.1"),
        EtcdMember(id="5", name="", peer_ip="10.0.0.2", learner=True),
    )
    answers = '[{"endpoint":"https://10.0.0.1:2379","health":true},{"endpoint":"https://10.0.0.2:2379","health":false}]'
    assert EtcdHealth().process([answers]) == frozenset({"10.0.0.1"})


def test_members_are_parsed() -> None:
    nodes = ["node:a machine=m1 ready=True control-plane", "node:w machine=m3 ready=False", "node:x machine="]
    state = ClusterMembers().process([f"etcd {MEMBER_LIST}", *nodes, "token:bootstrap-token-abcdef"])
    assert state.tokens == ("bootstrap-token-abcdef",)
    assert state.nodes == {
        "a": registered(machine_id="m1", control_plane=True),
        "w": registered(machine_id="m3", ready=False),
        # A kubelet that has never reported its status.
        "x": registered(machine_id="", ready=False),
    }
    assert [state.votes(node.ip) for node in (A, B, W)] == [True, False, False]


@pytest.mark.parametrize(
    "output", [[], ["etcd "], ["node:a machine=m1 ready=True"], ["etcd {}"], ['etcd {"members": []}']]
)
def test_an_answer_without_etcds_members_is_an_error(output: list[str]) -> None:
    with pytest.raises((KeyError, ValueError)):
        ClusterMembers().process(output)
    with pytest.raises((KeyError, ValueError)):
        EtcdMembers().process(output[:1])
