"""Roles, labels and taints of nodes: what is found, and what is changed."""

import pytest

from kubeadm_deploys.documents.cluster_record import ClusterRecord
from kubeadm_deploys.model.labels_and_taints import MarkedNode, Marks
from kubeadm_deploys.sections.node_labels import Change, NodeMarks, NodeMarksState, WantedNode, placed
from tests.support.node_marks import KUBEADMS_TAINT, steps, wanted

# As kubectl 1.36 prints them: a control plane, a new worker, a worker with our annotation and another one,
# the record.
KUBECTL_OUTPUT = r"""
node|cp|{"kubernetes.io/hostname":"cp","node-role.kubernetes.io/control-plane":""}|[{"effect":"NoSchedule","key":"node-role.kubernetes.io/control-plane"}]|{"node.alpha.kubernetes.io/ttl":"0"}
node|new|{"kubernetes.io/hostname":"new"}||
node|gpu|{"disk":"ssd"}|[{"effect":"NoSchedule","key":"dedicated","value":"gpu"},{"effect":"NoExecute","key":"node.kubernetes.io/not-ready","timeAdded":"2026-01-01T00:00:00Z"}]|{"kubeadm-deploys/placement":"[\"disk\"]","odd":"a|b\n\u003c"}
record|{"nodes":"{\"gpu\": [\"dedicated:NoSchedule\", \"disk\"]}","releases":"{\"runc\": \"1.4.3\"}"}
""".strip()


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
