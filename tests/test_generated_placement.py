"""Whatever data say of a node, and say next, kubectl is told it; a run that is killed in between loses nothing."""

import json
import shlex
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kubeadm_deploys.facts.cluster_health import KUBECTL
from kubeadm_deploys.facts.placement import NodeMarks
from kubeadm_deploys.marks import MarkedNode, difference, wanted_marks
from kubeadm_deploys.nodes import Node
from kubeadm_deploys.operations.placement import mark_commands
from tests.hypothesis_profile import some
from tests.node_strategies import LABEL_VALUES, NODE_FIELDS

RECORD = "kubeadm-deploys/placement"
KUBEADMS_TAINT = "node-role.kubernetes.io/control-plane:NoSchedule"
OTHERS = {"kubernetes.io/hostname": "y", "node.kubernetes.io/not-ready:NoExecute": ""}
"""Marks that data cannot name."""

DATA = st.fixed_dictionaries(
    {}, optional={key: NODE_FIELDS[key].right for key in ("node_labels", "node_taints", "node_roles")}
)


class Kubectl:
    """A Node object that understands our commands as kubectl does."""

    def __init__(self, *, control_plane: bool) -> None:
        self.control_plane = control_plane
        self.marks = OTHERS | ({KUBEADMS_TAINT: ""} if control_plane else {})
        self.annotations = {"odd": "a|b"}

    def run(self, command: str) -> None:
        assert command.startswith(f"{KUBECTL} ")
        verb, _, kind, name, *arguments = shlex.split(command.removeprefix(KUBECTL))
        assert (kind, name) == ("node", "y")
        kept = self.annotations if verb == "annotate" else self.marks
        for argument in arguments:
            key, equals, value = argument.partition("=")
            if not equals:
                assert key.endswith("-")
                # kubectl fails with a taint that is not there.
                del kept[key.removesuffix("-")]
            elif verb == "taint":
                value, _, effect = value.partition(":")
                kept[f"{key}:{effect}"] = value
            else:
                kept[key] = value

    def read(self) -> MarkedNode:
        labels = {mark: value for mark, value in self.marks.items() if ":" not in mark}
        taints = [
            {"key": mark.partition(":")[0], "effect": mark.partition(":")[2], "value": value}
            for mark, value in self.marks.items()
            if ":" in mark
        ]
        line = "|".join(["y", json.dumps(labels), json.dumps(taints), json.dumps(self.annotations)])
        return NodeMarks().process([line])["y"]

    def commands(self, data: dict[str, Any]) -> list[str]:
        taints = data.get("node_taints")
        node = Node(
            host="host-1",
            name="y",
            ip="10.0.0.1",
            address="10.0.0.1",
            labels=data.get("node_labels", {}),
            taints=None if taints is None else tuple(taints),
            roles=tuple(data.get("node_roles", ())),
        )
        found, wanted = self.read(), wanted_marks(node, control_plane=self.control_plane)
        differs = difference(found=found, wanted=wanted, control_plane=self.control_plane)
        return mark_commands("y", found=found, differs=differs)

    def place(self, data: dict[str, Any]) -> None:
        for command in self.commands(data):
            self.run(command)


def expected(data: dict[str, Any], *, control_plane: bool) -> dict[str, str]:
    """What is on a node after all, others' marks included."""
    marks: dict[str, str] = OTHERS | data.get("node_labels", {})
    marks |= {f"node-role.kubernetes.io/{role}": "" for role in data.get("node_roles", ())}
    taints = data.get("node_taints")
    if taints is None:
        taints = [KUBEADMS_TAINT] if control_plane else []
    for taint in taints:
        rest, _, effect = taint.rpartition(":")
        key, _, value = rest.partition("=")
        marks[f"{key}:{effect}"] = value
    return marks


@some
@given(st.booleans(), DATA, DATA, st.integers(0, 4))
def test_a_node_gets_what_data_say_and_loses_what_they_said(
    control_plane: bool, before: dict[str, Any], after: dict[str, Any], killed_after: int
) -> None:
    node = Kubectl(control_plane=control_plane)
    node.place(before)
    assert node.marks == expected(before, control_plane=control_plane)
    for command in node.commands(after)[:killed_after]:
        node.run(command)
    node.place(after)
    assert node.marks == expected(after, control_plane=control_plane)
    assert node.commands(after) == []


@some
@given(st.booleans(), DATA, DATA, st.integers(0, 4))
def test_what_a_killed_run_began_is_taken_back_when_data_say_it_no_longer(
    control_plane: bool, before: dict[str, Any], after: dict[str, Any], killed_after: int
) -> None:
    node = Kubectl(control_plane=control_plane)
    node.place(before)
    for command in node.commands(after)[:killed_after]:
        node.run(command)
    node.place({})
    assert node.marks == expected({}, control_plane=control_plane)
    assert RECORD not in node.annotations


@some
@given(DATA, st.dictionaries(st.sampled_from(["disk", "spot:NoExecute"]), LABEL_VALUES))
def test_what_somebody_else_has_put_on_a_node_stays(data: dict[str, Any], others: dict[str, str]) -> None:
    node = Kubectl(control_plane=False)
    node.marks |= others
    node.place(data)
    node.place({})
    theirs = OTHERS | {
        mark: value for mark, value in others.items() if mark not in expected(data, control_plane=False)
    }
    assert node.marks == theirs
