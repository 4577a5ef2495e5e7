"""Labels, roles and taints that data gives a node, also when kubeadm makes it."""

import dataclasses
import shlex
from typing import Any

import pytest
import yaml

from kubeadm_deploys.documents import kubeadm_documents
from kubeadm_deploys.facts.cluster_health import KUBECTL
from kubeadm_deploys.model.labels_and_taints import takes_traffic
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.sections.joining import mark_command
from tests.support.node_marks import KUBEADMS_TAINT, NODE, wanted

OTHER = Node(host="host-2", name="node-2", ip="10.0.0.2", address="203.0.113.2")


def without_kubectl(command: str) -> list[str]:
    """Return the words of a command after kubectl and its own options."""
    assert command.startswith(f"{KUBECTL} ")
    return shlex.split(command.removeprefix(KUBECTL))


def test_data_gives_labels_roles_and_taints() -> None:
    assert wanted(
        labels={"disk": "ssd"}, roles=("gpu",), taints=("dedicated=gpu:NoSchedule", "spot:NoExecute")
    ) == {
        "disk": "ssd",
        "node-role.kubernetes.io/gpu": "",
        "dedicated:NoSchedule": "gpu",
        "spot:NoExecute": "",
    }


def test_only_a_control_plane_has_kubeadms_taint_unless_data_has_taints() -> None:
    assert wanted(control_plane=True) == {KUBEADMS_TAINT: ""}
    assert wanted(control_plane=True, taints=()) == {}
    assert wanted(control_plane=True, taints=("a:NoExecute",)) == {"a:NoExecute": ""}
    assert wanted() == {}


def test_control_planes_take_traffic_if_there_are_no_workers_and_pods_may_run_on_them() -> None:
    free, tainted = dataclasses.replace(NODE, taints=()), NODE
    kept = dataclasses.replace(NODE, taints=("node-role.kubernetes.io/control-plane:NoSchedule",))

    def traffic(node: Node, *workers: Node) -> bool:
        return takes_traffic(node, Topology(control_planes=(node,), workers=workers))

    assert traffic(free)
    assert not traffic(free, OTHER)
    assert not traffic(tainted)
    assert not traffic(kept)
    assert not takes_traffic(OTHER, Topology(control_planes=(), workers=(OTHER,)))


def registration(node: Node) -> dict[str, Any]:
    """Return kubeadm init's configuration of a node."""
    text = kubeadm_documents.init_document(
        options=ClusterOptions(),
        topology=Topology(control_planes=(node,), workers=()),
        node=node,
        token="abcdef.0123456789abcdef",
    )
    return dict(next(iter(yaml.safe_load_all(text)))["nodeRegistration"])


def test_kubeadm_registers_a_node_with_its_taints() -> None:
    # For kubeadm, a missing field means its default, and an empty list means no taints.
    assert "taints" not in registration(NODE)
    assert registration(dataclasses.replace(NODE, taints=()))["taints"] == []
    taints = ("dedicated=gpu:NoSchedule", "spot:NoExecute")
    assert registration(dataclasses.replace(NODE, taints=taints))["taints"] == [
        {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"},
        {"key": "spot", "value": "", "effect": "NoExecute"},
    ]


@pytest.mark.parametrize(
    ("taints", "arguments"),
    [
        (None, ["node-role.kubernetes.io/control-plane=:NoSchedule"]),
        ((), []),
        (("dedicated=cp:NoExecute",), ["dedicated=cp:NoExecute"]),
    ],
)
def test_finishing_a_join_adds_no_taint_that_data_does_not_have(
    taints: tuple[str, ...] | None, arguments: list[str]
) -> None:
    command = str(mark_command(dataclasses.replace(NODE, taints=taints)).get_raw_value())
    label, _, taint = command.partition(" && ")
    assert shlex.split(label)[-3:] == [
        "node-1",
        "node-role.kubernetes.io/control-plane=",
        "node.kubernetes.io/exclude-from-external-load-balancers=",
    ]
    assert (without_kubectl(taint) if taint else []) == (
        ["taint", "--overwrite", "node", "node-1", *arguments] if arguments else []
    )
