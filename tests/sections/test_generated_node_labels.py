"""A node follows any inventory data, and any later data; a run that is killed in between loses nothing."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kubeadm_deploys.documents.cluster_record import ClusterRecord
from kubeadm_deploys.model.labels_and_taints import wanted_marks
from kubeadm_deploys.model.nodes import Node
from kubeadm_deploys.sections.node_labels import (
    Change,
    NodeMarks,
    NodeMarksState,
    Placement,
    WantedNode,
    placed,
)
from tests.support.hypothesis_profile import some
from tests.support.node_strategies import LABEL_VALUES, NODE_FIELDS

KUBEADMS_TAINT = "node-role.kubernetes.io/control-plane:NoSchedule"
OTHERS = {"kubernetes.io/hostname": "y", "node.kubernetes.io/not-ready:NoExecute": ""}
"""Marks that the inventory cannot set."""

DATA = st.fixed_dictionaries(
    {}, optional={key: NODE_FIELDS[key].right for key in ("node_labels", "node_taints", "node_roles")}
)


class Cluster:
    """One Node object and the record, changed as the API server would change them."""

    def __init__(self, *, control_plane: bool) -> None:
        self.control_plane = control_plane
        self.marks = OTHERS | ({KUBEADMS_TAINT: ""} if control_plane else {})
        self.record = ClusterRecord()

    def do(self, step: ClusterRecord | Change) -> None:
        if isinstance(step, ClusterRecord):
            # The API server stores only strings.
            self.record = ClusterRecord(data=json.loads(step.manifest())["data"])
            return
        assert step.nodes == ("y",)
        for argument in step.arguments:
            key, equals, value = argument.partition("=")
            if not equals:
                assert key.endswith("-")
                # kubectl fails on a taint that the node does not have.
                del self.marks[key.removesuffix("-")]
            elif step.verb == "taint":
                value, _, effect = value.partition(":")
                self.marks[f"{key}:{effect}"] = value
            else:
                self.marks[key] = value

    def read(self) -> NodeMarksState:
        labels = {mark: value for mark, value in self.marks.items() if ":" not in mark}
        taints = [
            {"key": mark.partition(":")[0], "effect": mark.partition(":")[2], "value": value}
            for mark, value in self.marks.items()
            if ":" in mark
        ]
        line = "|".join(["node", "y", json.dumps(labels), json.dumps(taints), '{"odd":"a|b"}'])
        return NodeMarks().process([line, f"record|{json.dumps(self.record.data)}"])

    def placement(self, data: Mapping[str, Any]) -> Placement:
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
        marks = wanted_marks(node, control_plane=self.control_plane)
        wanted = {"y": WantedNode(marks=marks, control_plane=self.control_plane)}
        return placed(self.read(), wanted=wanted, known=marks.keys())

    def steps(self, data: Mapping[str, Any]) -> list[ClusterRecord | Change]:
        """Return all steps, in order."""
        placement = self.placement(data)
        record = placement.record
        return [
            *([record.with_nodes(placement.claim)] if placement.claims else []),
            *placement.changes,
            *([record.with_nodes(placement.final)] if placement.final != placement.claim else []),
        ]

    def place(self, data: Mapping[str, Any]) -> None:
        self.do_all(self.steps(data))

    def do_all(self, steps: Iterable[ClusterRecord | Change]) -> None:
        for step in steps:
            self.do(step)


def expected(data: dict[str, Any], *, control_plane: bool) -> dict[str, str]:
    """Return the marks of a node at the end, including those of others."""
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
def test_a_node_gets_the_marks_of_new_data_and_loses_those_of_old(
    control_plane: bool, before: dict[str, Any], after: dict[str, Any], killed_after: int
) -> None:
    cluster = Cluster(control_plane=control_plane)
    cluster.place(before)
    assert cluster.marks == expected(before, control_plane=control_plane)
    cluster.do_all(cluster.steps(after)[:killed_after])
    cluster.place(after)
    assert cluster.marks == expected(after, control_plane=control_plane)
    assert not cluster.placement(after).is_needed


@some
@given(st.booleans(), DATA, DATA, st.integers(0, 4))
def test_marks_of_a_killed_run_are_removed_when_data_no_longer_has_them(
    control_plane: bool, before: dict[str, Any], after: dict[str, Any], killed_after: int
) -> None:
    cluster = Cluster(control_plane=control_plane)
    cluster.place(before)
    cluster.do_all(cluster.steps(after)[:killed_after])
    cluster.place({})
    assert cluster.marks == expected({}, control_plane=control_plane)
    assert not cluster.record.nodes


@some
@given(DATA, st.dictionaries(st.sampled_from(["disk", "spot:NoExecute"]), LABEL_VALUES))
def test_marks_that_others_set_stay(data: dict[str, Any], others: dict[str, str]) -> None:
    cluster = Cluster(control_plane=False)
    cluster.marks |= others
    cluster.place(data)
    cluster.place({})
    theirs = OTHERS | {
        mark: value for mark, value in others.items() if mark not in expected(data, control_plane=False)
    }
    assert cluster.marks == theirs
