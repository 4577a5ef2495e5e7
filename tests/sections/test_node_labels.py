"""Roles, labels and taints of nodes: what the inventory says, what is found, and what is changed."""

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeadm_deploys.documents import kubeadm_documents
from kubeadm_deploys.documents.cluster_record import ClusterRecord
from kubeadm_deploys.facts.cluster_health import KUBECTL
from kubeadm_deploys.model.labels_and_taints import MarkedNode, Marks, takes_traffic, wanted_marks
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.sections.joining import mark_command
from kubeadm_deploys.sections.node_labels import (
    Change,
    NodeMarks,
    NodeMarksState,
    Placement,
    WantedNode,
    placed,
)

ROOT = Path(__file__).parents[2]


NODE = Node(host="host-1", name="node-1", ip="10.0.0.1", address="203.0.113.1")


OTHER = Node(host="host-2", name="node-2", ip="10.0.0.2", address="203.0.113.2")


KUBEADMS_TAINT = "node-role.kubernetes.io/control-plane:NoSchedule"


# As kubectl 1.36 prints them: a control plane, a new worker, a worker with our annotation and another one,
# the record.
KUBECTL_OUTPUT = r"""
node|cp|{"kubernetes.io/hostname":"cp","node-role.kubernetes.io/control-plane":""}|[{"effect":"NoSchedule","key":"node-role.kubernetes.io/control-plane"}]|{"node.alpha.kubernetes.io/ttl":"0"}
node|new|{"kubernetes.io/hostname":"new"}||
node|gpu|{"disk":"ssd"}|[{"effect":"NoSchedule","key":"dedicated","value":"gpu"},{"effect":"NoExecute","key":"node.kubernetes.io/not-ready","timeAdded":"2026-01-01T00:00:00Z"}]|{"kubeadm-deploys/placement":"[\"disk\"]","odd":"a|b\n\u003c"}
record|{"nodes":"{\"gpu\": [\"dedicated:NoSchedule\", \"disk\"]}","releases":"{\"runc\": \"1.4.3\"}"}
""".strip()


def wanted(*, control_plane: bool = False, **fields: Any) -> Marks:
    return wanted_marks(dataclasses.replace(NODE, **fields), control_plane=control_plane)


def steps(placement: Placement) -> list[list[str]]:
    """Return the steps in order: marks that are recorded, and verbs with their arguments."""
    recorded = [sorted(nodes.get("node-1", ())) for nodes in (placement.claim, placement.final)]
    return [
        *([["record", *recorded[0]]] if placement.claims else []),
        *([change.verb, *change.arguments] for change in placement.changes),
        *([["record", *recorded[1]]] if placement.final != placement.claim else []),
    ]


def commands(
    data: Marks, *, marks: Marks | None = None, record: tuple[str, ...] = (), control_plane: bool = False
) -> list[list[str]]:
    """Return the steps for a node with these marks, in a cluster that has a record of its nodes."""
    placement = placed(
        NodeMarksState(
            nodes={"node-1": MarkedNode(marks=marks or {})},
            record=ClusterRecord().with_nodes({"node-1": record}),
        ),
        wanted={"node-1": WantedNode(marks=data, control_plane=control_plane)},
        known=set(),
    )
    assert {node for change in placement.changes for node in change.nodes} <= {"node-1"}
    return steps(placement)


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


@pytest.mark.parametrize(
    ("marks", "control_plane"),
    [
        ({"kubernetes.io/hostname": "n", "team": "x", "node.kubernetes.io/not-ready:NoExecute": ""}, False),
        ({"node-role.kubernetes.io/control-plane": "", KUBEADMS_TAINT: ""}, True),
    ],
)
def test_a_cluster_without_such_data_gets_no_record(marks: Marks, control_plane: bool) -> None:
    assert commands(wanted(control_plane=control_plane), marks=marks, control_plane=control_plane) == []


EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"


@pytest.mark.parametrize(
    ("traffic", "label", "record", "wanted_steps"),
    [
        (True, True, (), [["record", EXCLUDED], ["label", f"{EXCLUDED}-"]]),
        # The run was killed before it removed the label.
        (True, True, (EXCLUDED,), [["label", f"{EXCLUDED}-"]]),
        (True, False, (EXCLUDED,), []),
        (False, False, (EXCLUDED,), [["label", f"{EXCLUDED}="], ["record"]]),
        (False, True, (EXCLUDED,), [["record"]]),
        # Somebody else removed it.
        (False, False, (), []),
        (True, False, (), []),
        (False, True, (), []),
    ],
)
def test_only_without_workers_control_planes_are_not_excluded_from_load_balancers(
    traffic: bool, label: bool, record: tuple[str, ...], wanted_steps: list[list[str]]
) -> None:
    placement = placed(
        NodeMarksState(
            nodes={"node-1": MarkedNode(marks={EXCLUDED: ""} if label else {})},
            record=ClusterRecord().with_nodes({"node-1": record} if record else {}),
        ),
        wanted={"node-1": WantedNode(marks={}, control_plane=True, traffic=traffic)},
        known=set(),
    )
    assert steps(placement) == wanted_steps


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


def test_new_marks_are_recorded_before_they_are_added() -> None:
    data = wanted(labels={"disk": "ssd", "empty": ""}, roles=("gpu",), taints=("dedicated=gpu:NoSchedule",))
    assert commands(data, marks={"team": "x"}) == [
        ["record", "dedicated:NoSchedule", "disk", "empty", "node-role.kubernetes.io/gpu"],
        ["label", "disk=ssd", "empty=", "node-role.kubernetes.io/gpu="],
        ["taint", "dedicated=gpu:NoSchedule"],
    ]


def test_nothing_is_done_when_nothing_differs() -> None:
    marks = {
        "disk": "ssd",
        "dedicated:NoSchedule": "gpu",
        "team": "x",
        "node.kubernetes.io/not-ready:NoExecute": "",
    }
    data = wanted(labels={"disk": "ssd"}, taints=("dedicated=gpu:NoSchedule",))
    assert commands(data, marks=marks, record=("dedicated:NoSchedule", "disk")) == []


def test_a_changed_value_does_not_change_the_record() -> None:
    data = wanted(labels={"disk": "hdd"}, taints=("dedicated=ml:NoSchedule",))
    marks = {"disk": "ssd", "dedicated:NoSchedule": "gpu"}
    assert commands(data, marks=marks, record=("dedicated:NoSchedule", "disk")) == [
        ["label", "disk=hdd"],
        ["taint", "dedicated=ml:NoSchedule"],
    ]


def test_another_effect_replaces_the_first_in_one_command() -> None:
    assert commands(
        wanted(taints=("dedicated=gpu:NoExecute",)),
        marks={"dedicated:NoSchedule": "gpu"},
        record=("dedicated:NoSchedule",),
    ) == [
        ["record", "dedicated:NoExecute", "dedicated:NoSchedule"],
        ["taint", "dedicated=gpu:NoExecute", "dedicated:NoSchedule-"],
        ["record", "dedicated:NoExecute"],
    ]


def test_marks_that_data_no_longer_has_go_and_those_of_others_stay() -> None:
    marks = {"disk": "ssd", "zone": "a", "team": "x", "spot:NoExecute": "", "theirs:NoSchedule": ""}
    assert commands(wanted(labels={"zone": "a"}), marks=marks, record=("disk", "spot:NoExecute", "zone")) == [
        ["label", "disk-"],
        ["taint", "spot:NoExecute-"],
        ["record", "zone"],
    ]
    assert commands(wanted(), marks=marks, record=("disk",)) == [
        ["label", "disk-"],
        ["record"],
    ]


def test_marks_of_others_that_data_has_are_taken_over() -> None:
    record = ["record", "team"]
    assert commands(wanted(labels={"team": "y"}), marks={"team": "x"}) == [record, ["label", "team=y"]]
    assert commands(wanted(labels={"team": "x"}), marks={"team": "x"}) == [record]


def test_marks_that_others_removed_are_added_again_or_forgotten() -> None:
    assert commands(wanted(labels={"disk": "ssd"}), record=("disk",)) == [["label", "disk=ssd"]]
    assert commands(wanted(), marks={"team": "x"}, record=("disk",)) == [["record"]]


@pytest.mark.parametrize("nodes", ["{", "[1]", '{"node-1":"team"}', '{"node-1":[1]}', "null", "[]"])
def test_a_damaged_record_removes_no_marks(nodes: str) -> None:
    record = ClusterRecord(data={"nodes": nodes})
    found = NodeMarksState(nodes={"node-1": MarkedNode(marks={"team": "x", "1": "one"})}, record=record)
    assert record.damaged == ("nodes",)
    assert not placed(found, wanted={"node-1": WantedNode(marks={})}, known=set()).is_needed
    disk = placed(found, wanted={"node-1": WantedNode(marks={"disk": "ssd"})}, known=set())
    assert steps(disk) == [["record", "disk"], ["label", "disk=ssd"]]


# A run that changes disk, removes old and spot, and adds new, killed after each of its four commands.
BOTH = ("disk", "new:NoSchedule", "old", "spot:NoExecute")


KILLED: list[tuple[Marks, tuple[str, ...]]] = [
    ({"disk": "ssd", "old": "1", "spot:NoExecute": ""}, ("disk", "old", "spot:NoExecute")),
    ({"disk": "ssd", "old": "1", "spot:NoExecute": ""}, BOTH),
    ({"disk": "hdd", "spot:NoExecute": ""}, BOTH),
    ({"disk": "hdd", "new:NoSchedule": ""}, BOTH),
]


STEPS = [
    ["record", *BOTH],
    ["label", "disk=hdd", "old-"],
    ["taint", "new=:NoSchedule", "spot:NoExecute-"],
    ["record", "disk", "new:NoSchedule"],
]


@pytest.mark.parametrize("done", range(4))
def test_a_killed_run_is_continued(done: int) -> None:
    marks, record = KILLED[done]
    data = wanted(labels={"disk": "hdd"}, taints=("new:NoSchedule",))
    assert commands(data, marks={**marks, "team": "x"}, record=record) == STEPS[done:]


@pytest.mark.parametrize(("marks", "record"), KILLED)
def test_marks_of_a_killed_run_can_all_be_removed(marks: Marks, record: tuple[str, ...]) -> None:
    *removals, last = commands(wanted(), marks={**marks, "team": "x"}, record=record)
    assert {word for _, *words in removals for word in words} == {f"{mark}-" for mark in marks}
    assert last == ["record"]


def test_a_control_plane_becomes_schedulable_and_back_without_a_record() -> None:
    marks = {"node-role.kubernetes.io/control-plane": ""}
    schedulable = wanted(control_plane=True, taints=())
    assert commands(schedulable, marks={**marks, KUBEADMS_TAINT: ""}, control_plane=True) == [
        ["taint", f"{KUBEADMS_TAINT}-"]
    ]
    assert commands(schedulable, marks=marks, control_plane=True) == []
    assert commands(wanted(control_plane=True), marks=marks, control_plane=True) == [
        ["taint", "node-role.kubernetes.io/control-plane=:NoSchedule"]
    ]


def test_kubeadms_taint_on_a_worker_is_left_alone_until_data_has_it() -> None:
    assert commands(wanted(), marks={KUBEADMS_TAINT: ""}) == []
    assert commands(wanted(taints=(KUBEADMS_TAINT,)), marks={KUBEADMS_TAINT: ""}) == [
        ["record", KUBEADMS_TAINT]
    ]


def test_the_output_of_kubectl_is_parsed() -> None:
    # Other output of a shell, like a greeting, is ignored.
    found = NodeMarks().process(["Welcome | to cp", *KUBECTL_OUTPUT.splitlines()])
    nodes = found.nodes
    assert nodes["cp"].marks == {
        "kubernetes.io/hostname": "cp",
        "node-role.kubernetes.io/control-plane": "",
        KUBEADMS_TAINT: "",
    }
    assert nodes["cp"].annotation == ""
    assert nodes["new"] == MarkedNode(marks={"kubernetes.io/hostname": "new"})
    assert nodes["gpu"].marks == {
        "disk": "ssd",
        "dedicated:NoSchedule": "gpu",
        "node.kubernetes.io/not-ready:NoExecute": "",
    }
    assert nodes["gpu"].annotation == '["disk"]'
    assert found.record.nodes == {"gpu": frozenset({"dedicated:NoSchedule", "disk"})}
    assert found.record.releases == {"runc": "1.4.3"}
    assert nodes.keys() == {"cp", "new", "gpu"}


def test_a_cluster_without_a_record_has_an_empty_one() -> None:
    assert NodeMarks().process(KUBECTL_OUTPUT.splitlines()[:-1]).record == ClusterRecord()


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


def test_a_node_that_has_left_is_dropped_when_the_record_is_written_next() -> None:
    nodes = {"node-1": MarkedNode(marks={"disk": "ssd"})}
    record = ClusterRecord().with_nodes({"node-1": {"disk"}, "gone": {"disk"}})
    found = NodeMarksState(nodes=nodes, record=record)
    assert not placed(found, wanted={"node-1": WantedNode(marks={"disk": "ssd"})}, known=set()).is_needed
    placement = placed(found, wanted={"node-1": WantedNode(marks={})}, known=set())
    assert (dict(placement.claim), dict(placement.final)) == ({"node-1": frozenset({"disk"})}, {})


def test_nodes_with_the_same_change_share_one_command() -> None:
    names = [f"w-{number}" for number in range(80)]
    placement = placed(
        NodeMarksState(nodes={name: MarkedNode(marks={}) for name in names}, record=ClusterRecord()),
        wanted={
            name: WantedNode(marks={"disk": "ssd" if number else "hdd"}) for number, name in enumerate(names)
        },
        known=set(),
    )
    assert placement.changes == (
        Change(verb="label", nodes=("w-0",), arguments=("disk=hdd",)),
        Change(verb="label", nodes=tuple(names[1:]), arguments=("disk=ssd",)),
    )


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
