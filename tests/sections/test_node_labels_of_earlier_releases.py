"""Labels and taints that an earlier release of this package has set and noted in an annotation of the node."""

import dataclasses
import json

import pytest

from kubeadm_deploys.documents.cluster_record import ClusterRecord
from kubeadm_deploys.model.labels_and_taints import MarkedNode, Marks
from kubeadm_deploys.sections.node_labels import NodeMarksState, WantedNode, placed
from tests.support.node_marks import steps


def annotated(*marks: str, found: Marks, nodes: dict[str, MarkedNode] | None = None) -> NodeMarksState:
    """Return a cluster of an earlier release of this package, whose nodes have annotations."""
    text = json.dumps(marks)
    return NodeMarksState(nodes={"node-1": MarkedNode(marks=found, annotation=text), **(nodes or {})})


ANNOTATION_GOES = ["annotate", "kubeadm-deploys/placement-"]


def test_the_annotation_of_an_earlier_release_is_taken_over_once() -> None:
    found = annotated("disk", "old", found={"disk": "ssd", "old": "1", "team": "x"})
    placement = placed(found, wanted={"node-1": WantedNode(marks={"disk": "ssd"})}, known={"disk"})
    assert steps(placement) == [
        ["record", "disk", "old"],
        ["label", "old-"],
        ANNOTATION_GOES,
        ["record", "disk"],
    ]
    recorded = dataclasses.replace(found, record=ClusterRecord().with_nodes(placement.final))
    again = placed(recorded, wanted={"node-1": WantedNode(marks={"disk": "ssd"})}, known={"disk"})
    assert steps(again) == [ANNOTATION_GOES]


def test_an_annotation_is_ignored_once_the_cluster_has_a_record_of_its_nodes() -> None:
    found = dataclasses.replace(annotated("team", found={"team": "x"}), record=ClusterRecord().with_nodes({}))
    placement = placed(found, wanted={"node-1": WantedNode(marks={})}, known={"team"})
    assert steps(placement) == [ANNOTATION_GOES]


def test_nodes_outside_the_run_are_taken_over_with_the_others_and_not_changed() -> None:
    others = {"other": MarkedNode(marks={"disk": "ssd"}, annotation='["disk"]')}
    found = annotated("old", found={"old": "1"}, nodes=others)
    placement = placed(found, wanted={"node-1": WantedNode(marks={})}, known=set())
    assert placement.claim == {"node-1": {"old"}, "other": {"disk"}}
    assert placement.final == {"other": {"disk"}}
    assert {node for change in placement.changes for node in change.nodes} == {"node-1"}


@pytest.mark.parametrize(
    ("mark", "believed"),
    [
        # A node can change such labels itself, so it gains nothing by a claim.
        ("team", True),
        ("example.com/team", True),
        # A node may not change these itself, and must not get the administrator to do it.
        ("quarantine:NoExecute", False),
        ("spot:NoExecute", True),
        ("node-role.kubernetes.io/gpu", True),
        ("node-role.kubernetes.io/quarantine", False),
        ("node-role.kubernetes.io/control-plane", False),
        ("node-restriction.kubernetes.io/tenant", False),
        ("topology.kubernetes.io/zone", False),
        ("kubernetes.io/hostname", False),
        ("node.kubernetes.io/unschedulable:NoSchedule", False),
        ("x.k8s.io/y", False),
    ],
)
def test_a_node_cannot_cause_the_removal_of_marks_that_it_may_not_change(mark: str, believed: bool) -> None:
    known = {
        "spot:NoExecute",
        "node-role.kubernetes.io/gpu",
        "node-restriction.kubernetes.io/tenant",
        "topology.kubernetes.io/zone",
    }
    found = annotated(mark, "gone:NoExecute", "gone", found={mark: "x"})
    placement = placed(found, wanted={"node-1": WantedNode(marks={})}, known=known)
    removed = {word for change in placement.changes for word in change.arguments} - {ANNOTATION_GOES[1]}
    assert removed == ({f"{mark}-"} if believed else set())
    assert placement.doubted == ({} if believed else {"node-1": (mark,)})


def test_a_doubtful_mark_that_data_has_is_not_reported() -> None:
    found = annotated("tier:NoExecute", found={"tier:NoExecute": ""})
    placement = placed(found, wanted={"node-1": WantedNode(marks={"tier:NoExecute": ""})}, known=set())
    assert placement.doubted == {}
    assert steps(placement) == [["record", "tier:NoExecute"], ANNOTATION_GOES]
