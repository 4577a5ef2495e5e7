"""Roles, labels and taints of nodes: what data say, what is found, and what is done about it."""

import dataclasses
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeadm_deploys import kubeadm_documents
from kubeadm_deploys.cluster_record import ClusterRecord
from kubeadm_deploys.entry import options_from_data
from kubeadm_deploys.errors import InputError
from kubeadm_deploys.facts.cluster_health import KUBECTL
from kubeadm_deploys.facts.placement import NodeMarks, NodeMarksState
from kubeadm_deploys.marks import MarkedNode, Marks, wanted_marks
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.operations.joining import mark_command
from kubeadm_deploys.operations.placement import (
    Change,
    Placement,
    WantedNode,
    change_command,
    failures,
    placed,
)
from kubeadm_deploys.options import ClusterOptions
from tests.fake_answers import ENVIRONMENT, FRAMED
from tests.remote_scripts import with_programs

ROOT = Path(__file__).parents[1]
NODE = Node(host="host-1", name="node-1", ip="10.0.0.1", address="203.0.113.1")
OTHER = Node(host="host-2", name="node-2", ip="10.0.0.2", address="203.0.113.2")
KUBEADMS_TAINT = "node-role.kubernetes.io/control-plane:NoSchedule"

# As kubectl 1.36 prints them: a control plane, a new worker, one with an annotation of ours and of others, the record.
KUBECTL_OUTPUT = r"""
node|cp|{"kubernetes.io/hostname":"cp","node-role.kubernetes.io/control-plane":""}|[{"effect":"NoSchedule","key":"node-role.kubernetes.io/control-plane"}]|{"node.alpha.kubernetes.io/ttl":"0"}
node|new|{"kubernetes.io/hostname":"new"}||
node|gpu|{"disk":"ssd"}|[{"effect":"NoSchedule","key":"dedicated","value":"gpu"},{"effect":"NoExecute","key":"node.kubernetes.io/not-ready","timeAdded":"2026-01-01T00:00:00Z"}]|{"kubeadm-deploys/placement":"[\"disk\"]","odd":"a|b\n\u003c"}
record|{"nodes":"{\"gpu\": [\"dedicated:NoSchedule\", \"disk\"]}","releases":"{\"runc\": \"1.4.3\"}"}
""".strip()


def wanted(*, control_plane: bool = False, **fields: Any) -> Marks:
    return wanted_marks(dataclasses.replace(NODE, **fields), control_plane=control_plane)


def steps(placement: Placement) -> list[list[str]]:
    """What is done, in this order: marks that are recorded, and verbs with their arguments."""
    recorded = [sorted(nodes.get("node-1", ())) for nodes in (placement.claim, placement.final)]
    return [
        *([["record", *recorded[0]]] if placement.claims else []),
        *([change.verb, *change.arguments] for change in placement.changes),
        *([["record", *recorded[1]]] if placement.final != placement.claim else []),
    ]


def commands(
    data: Marks, *, marks: Marks | None = None, record: tuple[str, ...] = (), control_plane: bool = False
) -> list[list[str]]:
    """What follows from data and from what is found on a node of a cluster that has a record of its nodes."""
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
    """The words of a command behind kubectl and its own options."""
    assert command.startswith(f"{KUBECTL} ")
    return shlex.split(command.removeprefix(KUBECTL))


def test_data_say_labels_roles_and_taints() -> None:
    assert wanted(
        labels={"disk": "ssd"}, roles=("gpu",), taints=("dedicated=gpu:NoSchedule", "spot:NoExecute")
    ) == {
        "disk": "ssd",
        "node-role.kubernetes.io/gpu": "",
        "dedicated:NoSchedule": "gpu",
        "spot:NoExecute": "",
    }


def test_only_a_control_plane_has_kubeadms_taint_until_data_say_otherwise() -> None:
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
def test_a_cluster_without_such_data_gets_not_even_a_record(marks: Marks, control_plane: bool) -> None:
    assert commands(wanted(control_plane=control_plane), marks=marks, control_plane=control_plane) == []


def test_what_is_new_is_recorded_before_it_is_added() -> None:
    data = wanted(labels={"disk": "ssd", "empty": ""}, roles=("gpu",), taints=("dedicated=gpu:NoSchedule",))
    assert commands(data, marks={"team": "x"}) == [
        ["record", "dedicated:NoSchedule", "disk", "empty", "node-role.kubernetes.io/gpu"],
        ["label", "disk=ssd", "empty=", "node-role.kubernetes.io/gpu="],
        ["taint", "dedicated=gpu:NoSchedule"],
    ]


def test_nothing_is_done_when_all_is_there() -> None:
    marks = {
        "disk": "ssd",
        "dedicated:NoSchedule": "gpu",
        "team": "x",
        "node.kubernetes.io/not-ready:NoExecute": "",
    }
    data = wanted(labels={"disk": "ssd"}, taints=("dedicated=gpu:NoSchedule",))
    assert commands(data, marks=marks, record=("dedicated:NoSchedule", "disk")) == []


def test_a_changed_value_needs_no_other_record() -> None:
    data = wanted(labels={"disk": "hdd"}, taints=("dedicated=ml:NoSchedule",))
    marks = {"disk": "ssd", "dedicated:NoSchedule": "gpu"}
    assert commands(data, marks=marks, record=("dedicated:NoSchedule", "disk")) == [
        ["label", "disk=hdd"],
        ["taint", "dedicated=ml:NoSchedule"],
    ]


def test_another_effect_takes_the_place_of_the_first_at_once() -> None:
    assert commands(
        wanted(taints=("dedicated=gpu:NoExecute",)),
        marks={"dedicated:NoSchedule": "gpu"},
        record=("dedicated:NoSchedule",),
    ) == [
        ["record", "dedicated:NoExecute", "dedicated:NoSchedule"],
        ["taint", "dedicated=gpu:NoExecute", "dedicated:NoSchedule-"],
        ["record", "dedicated:NoExecute"],
    ]


def test_what_data_no_longer_say_goes_and_what_others_set_stays() -> None:
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


def test_what_data_say_is_taken_over_from_others() -> None:
    record = ["record", "team"]
    assert commands(wanted(labels={"team": "y"}), marks={"team": "x"}) == [record, ["label", "team=y"]]
    assert commands(wanted(labels={"team": "x"}), marks={"team": "x"}) == [record]


def test_what_somebody_else_took_away_is_added_again_or_forgotten() -> None:
    assert commands(wanted(labels={"disk": "ssd"}), record=("disk",)) == [["label", "disk=ssd"]]
    assert commands(wanted(), marks={"team": "x"}, record=("disk",)) == [["record"]]


@pytest.mark.parametrize("nodes", ["{", "[1]", '{"node-1":"team"}', '{"node-1":[1]}', "null", "[]"])
def test_a_spoilt_record_takes_nothing_away(nodes: str) -> None:
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
def test_a_run_that_was_killed_is_gone_on_with(done: int) -> None:
    marks, record = KILLED[done]
    data = wanted(labels={"disk": "hdd"}, taints=("new:NoSchedule",))
    assert commands(data, marks={**marks, "team": "x"}, record=record) == STEPS[done:]


@pytest.mark.parametrize(("marks", "record"), KILLED)
def test_a_run_that_was_killed_leaves_nothing_that_data_could_not_take_back(
    marks: Marks, record: tuple[str, ...]
) -> None:
    *removals, last = commands(wanted(), marks={**marks, "team": "x"}, record=record)
    assert {word for _, *words in removals for word in words} == {f"{mark}-" for mark in marks}
    assert last == ["record"]


def test_a_control_plane_is_made_schedulable_and_back_without_a_record() -> None:
    marks = {"node-role.kubernetes.io/control-plane": ""}
    schedulable = wanted(control_plane=True, taints=())
    assert commands(schedulable, marks={**marks, KUBEADMS_TAINT: ""}, control_plane=True) == [
        ["taint", f"{KUBEADMS_TAINT}-"]
    ]
    assert commands(schedulable, marks=marks, control_plane=True) == []
    assert commands(wanted(control_plane=True), marks=marks, control_plane=True) == [
        ["taint", "node-role.kubernetes.io/control-plane=:NoSchedule"]
    ]


def test_kubeadms_taint_on_a_worker_is_somebody_elses_until_data_say_it() -> None:
    assert commands(wanted(), marks={KUBEADMS_TAINT: ""}) == []
    assert commands(wanted(taints=(KUBEADMS_TAINT,)), marks={KUBEADMS_TAINT: ""}) == [
        ["record", KUBEADMS_TAINT]
    ]


def test_what_kubectl_prints_is_understood() -> None:
    # Whatever else a shell prints, like a greeting of its own, is none of it.
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


def test_without_a_record_there_is_none() -> None:
    assert NodeMarks().process(KUBECTL_OUTPUT.splitlines()[:-1]).record == ClusterRecord()


def annotated(*marks: str, found: Marks, nodes: dict[str, MarkedNode] | None = None) -> NodeMarksState:
    """A cluster of an earlier release of this package, whose nodes have annotations."""
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


def test_an_annotation_counts_for_nothing_once_the_cluster_has_a_record_of_its_nodes() -> None:
    found = dataclasses.replace(annotated("team", found={"team": "x"}), record=ClusterRecord().with_nodes({}))
    placement = placed(found, wanted={"node-1": WantedNode(marks={})}, known={"team"})
    assert steps(placement) == [ANNOTATION_GOES]


def test_nodes_that_have_no_part_in_the_run_are_taken_over_with_the_others_and_left_as_they_are() -> None:
    others = {"other": MarkedNode(marks={"disk": "ssd"}, annotation='["disk"]')}
    found = annotated("old", found={"old": "1"}, nodes=others)
    placement = placed(found, wanted={"node-1": WantedNode(marks={})}, known=set())
    assert placement.claim == {"node-1": {"old"}, "other": {"disk"}}
    assert placement.final == {"other": {"disk"}}
    assert {node for change in placement.changes for node in change.nodes} == {"node-1"}


@pytest.mark.parametrize(
    ("mark", "believed"),
    [
        # A node can change such labels itself, and gains nothing by a claim.
        ("team", True),
        ("example.com/team", True),
        # It cannot change these, unless the administrator does it in its place.
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
def test_a_node_cannot_have_taken_off_what_it_may_not_change_itself(mark: str, believed: bool) -> None:
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


def test_nobody_is_asked_about_a_doubtful_mark_that_data_say() -> None:
    found = annotated("tier:NoExecute", found={"tier:NoExecute": ""})
    placement = placed(found, wanted={"node-1": WantedNode(marks={"tier:NoExecute": ""})}, known=set())
    assert placement.doubted == {}
    assert steps(placement) == [["record", "tier:NoExecute"], ANNOTATION_GOES]


def test_a_node_that_has_left_goes_from_the_record_when_it_is_written_next() -> None:
    nodes = {"node-1": MarkedNode(marks={"disk": "ssd"})}
    record = ClusterRecord().with_nodes({"node-1": {"disk"}, "gone": {"disk"}})
    found = NodeMarksState(nodes=nodes, record=record)
    assert not placed(found, wanted={"node-1": WantedNode(marks={"disk": "ssd"})}, known=set()).is_needed
    placement = placed(found, wanted={"node-1": WantedNode(marks={})}, known=set())
    assert (dict(placement.claim), dict(placement.final)) == ({"node-1": frozenset({"disk"})}, {})


def test_what_many_nodes_need_is_one_command_and_not_one_a_node() -> None:
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


CHANGES = (
    Change(verb="label", nodes=("a", "b c"), arguments=("disk=ssd", "odd='$(touch x)'")),
    Change(verb="taint", nodes=("c",), arguments=("spot:NoExecute-",)),
)


def run_script(tmp_path: Path, changes: tuple[Change, ...], kubectl: str) -> subprocess.CompletedProcess[str]:
    """Run the script with a kubectl that is this shell script."""
    (tmp_path / "kubectl").write_text(f"#!/bin/sh\n{kubectl}\n")
    (tmp_path / "kubectl").chmod(0o755)
    command = change_command(changes)
    return subprocess.run(
        ["sh", "-c", with_programs(command, tmp_path)],
        input=str(command.connector_arguments["_stdin"]),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )


def test_the_script_tells_kubectl_every_change(tmp_path: Path) -> None:
    # Its standard input is none of the script's: one that reads it takes no change away.
    done = run_script(
        tmp_path, CHANGES, 'cat; for word in "$@"; do printf "<%s>" "$word"; done > "seen-$$"; echo'
    )
    assert (done.returncode, done.stdout) == (0, "")
    seen = sorted(path.read_text() for path in tmp_path.glob("seen-*"))
    assert [text.partition("<--request-timeout=30s>")[2] for text in seen] == [
        "<label><--overwrite><node><a><b c><disk=ssd><odd='$(touch x)'>",
        "<taint><--overwrite><node><c><spot:NoExecute->",
    ]
    assert not (tmp_path / "x").exists()


def test_only_so_many_run_at_a_time(tmp_path: Path) -> None:
    changes = tuple(Change(verb="label", nodes=(f"n-{i}",), arguments=("a=b",)) for i in range(20))
    busy = "touch busy-$$; ls busy-* | wc -l > count-$$; sleep 0.3; rm busy-$$"
    assert run_script(tmp_path, changes, busy).returncode == 0
    counts = [int(path.read_text()) for path in tmp_path.glob("count-*")]
    assert len(counts) == 20 and 1 < max(counts) <= 8


def test_every_node_that_was_not_changed_is_named_with_the_reason(tmp_path: Path) -> None:
    refuse = (
        'case "$*" in *label*) echo "node/a labeled"; echo "nodes \\"b c\\" not found" >&2; exit 1 ;; esac'
    )
    done = run_script(tmp_path, CHANGES, refuse)
    assert done.returncode == 1
    said = done.stdout.splitlines()
    assert failures(CHANGES, said=said, error="") == {"b c": 'nodes "b c" not found'}


def test_without_a_word_of_the_script_no_node_counts_as_changed() -> None:
    assert failures(CHANGES, said=[], error="killed") == dict.fromkeys(("a", "b c", "c"), "killed")


def registration(node: Node) -> dict[str, Any]:
    """What kubeadm init is told of a node."""
    text = kubeadm_documents.init_document(
        options=ClusterOptions(),
        topology=Topology(control_planes=(node,), workers=()),
        node=node,
        token="abcdef.0123456789abcdef",
    )
    return dict(next(iter(yaml.safe_load_all(text)))["nodeRegistration"])


def test_kubeadm_registers_a_node_with_its_taints() -> None:
    # To kubeadm no field is its default, and an empty list no taint.
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
def test_a_join_that_is_finished_adds_no_taint_that_data_do_not_say(
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


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("labels", ["disk=ssd"], ["node_labels: ['disk=ssd'] of host host-2 is not a mapping"]),
        ("labels", {"a b": "c"}, ["node_labels: {'a b': 'c'} of host host-2 has 'a b'", "example.com/disk"]),
        ("labels", {"Example.com/disk": "c"}, ["has 'Example.com/disk', which is no label"]),
        ("labels", {"/disk": "c"}, ["has '/disk', which is no label"]),
        ("labels", {10**5000: "c"}, ["<dict too big to show>", "<int too big to show>, which is no label"]),
        ("labels", {"a" * 64: "c"}, ["which is no label", "at most 63"]),
        ("labels", {"slots": 4}, ["has 4 for 'slots'; write text"]),
        ("labels", {"disk": "-ssd"}, ["has '-ssd' for 'disk'"]),
        ("labels", {"disk": "a" * 64}, ["for 'disk'; write text of at most 63"]),
        ("labels", {"kubernetes.io/hostname": "x"}, ["which the kubelet sets itself; leave it out"]),
        ("labels", {"node-role.kubernetes.io/gpu": ""}, ["which is a role; name it in node_roles"]),
        ("taints", "spot:NoExecute", ["node_taints: 'spot:NoExecute' of host host-2 is not a list"]),
        ("taints", ("spot",), ["has 'spot', which is no taint", "dedicated=gpu:NoSchedule"]),
        ("taints", ("spot:Never",), ["has 'spot:Never', which is no taint", "PreferNoSchedule"]),
        ("taints", ("a=b=c:NoExecute",), ["has 'a=b=c:NoExecute', which is no taint"]),
        ("taints", (":NoExecute",), ["has ':NoExecute', which is no taint"]),
        ("taints", ([1],), ["has [1], which is no taint"]),
        ("taints", ("a" * 999,), [f"has '{'a' * 199}..., which is no taint"]),
        ("taints", (1,), ["has 1, which is no taint"]),
        ("taints", ("a=b:NoExecute", "a:NoExecute"), ["has a:NoExecute twice; give it one value"]),
        (
            "taints",
            ("node.kubernetes.io/not-ready:NoExecute",),
            ["which Kubernetes sets itself; leave it out"],
        ),
        ("roles", "gpu", ["node_roles: 'gpu' of host host-2 is not a list"]),
        ("roles", ("a/b",), ["has 'a/b', which is no role"]),
        ("roles", ("control-plane",), ["has 'control-plane', which kubeadm gives", "group control_plane"]),
    ],
)
def test_what_cannot_be_on_a_node_is_refused(field: str, value: object, words: list[str]) -> None:
    odd = dataclasses.replace(OTHER, **{field: value})  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(InputError) as error:
        Topology(control_planes=(NODE,), workers=(odd,)).check(ClusterOptions())
    (problem,) = error.value.problems
    assert [word for word in words if word not in problem] == []


def test_what_kubernetes_allows_is_allowed() -> None:
    node = dataclasses.replace(
        OTHER,
        labels={
            "a": "",
            "A.b_c-9": "X.y_z-0",
            "node-restriction.kubernetes.io/tier": "1",
            "a" * 63: "b" * 63,
        },
        taints=("a:NoSchedule", "a:NoExecute", "x.example.com/b=c:PreferNoSchedule"),
        roles=("gpu", "Ingress_1"),
    )
    Topology(control_planes=(NODE,), workers=(node,)).check(ClusterOptions())


def test_labels_that_something_else_keeps_are_its_own_only_where_it_is() -> None:
    zone = {"topology.kubernetes.io/zone": "rack-1"}
    excluded = {"node.kubernetes.io/exclude-from-external-load-balancers": ""}
    topology = Topology(
        control_planes=(dataclasses.replace(NODE, labels=zone),),
        workers=(dataclasses.replace(OTHER, labels=excluded),),
    )
    topology.check(ClusterOptions())
    with pytest.raises(InputError, match="which the cloud's controller sets itself"):
        topology.check(ClusterOptions(cloud_provider="hetzner"))
    with pytest.raises(InputError, match="which kubeadm sets itself"):
        Topology(control_planes=(dataclasses.replace(NODE, labels=excluded),), workers=()).check(
            ClusterOptions()
        )


def test_the_data_are_known() -> None:
    options_from_data({"node_labels": {"disk": "ssd"}, "node_taints": [], "node_roles": ["gpu"]})
    with pytest.raises(InputError, match="node_label: is not an option; did you mean node_labels"):
        options_from_data({"node_label": {"disk": "ssd"}})


# Hosts of pyinfra's connector that answers what it is told: a control plane whose cluster has cp and one worker.
INVENTORY = """
_cluster = {
    "<<< KubeadmNode": ["machine-id m", "have:kubelet.conf", "have:manifests/kube-apiserver.yaml", "rotating", "ca b3Vycw==", "api ok"],
    "<<< NodeMarks": NODES,
}
def _host(name, ip, **data):
    return f"@fake/{name}", {"fake_delay": 0, "fake_delay_jitter": 0, "node_name": name, "node_ip": ip, **data}
control_plane = [_host("cp", "10.0.0.1", fake_responses=_cluster)]
workers = [
    _host("joined", "10.0.0.2", node_labels={"disk": "ssd"}, node_taints=["spot:NoExecute"], node_roles=["gpu"]),
    _host("absent", "10.0.0.3", node_labels={"disk": "ssd"}),
]
"""
DEPLOY = """
from pyinfra import inventory
from kubeadm_deploys import ClusterOptions, place_nodes
from kubeadm_deploys.entry import topology_from_inventory
place_nodes(topology=topology_from_inventory(inventory, options=ClusterOptions()))
"""
UNMARKED = [KUBECTL_OUTPUT.splitlines()[0], "node|joined|{}||"]
MARKED = [
    UNMARKED[0],
    'node|joined|{"disk":"ssd","node-role.kubernetes.io/gpu":""}|[{"effect":"NoExecute","key":"spot"}]|{}',
    r'record|{"nodes":"{\"joined\": [\"disk\",\"node-role.kubernetes.io/gpu\",\"spot:NoExecute\"]}"}',
]


@pytest.mark.parametrize(
    ("nodes", "arguments", "totals"),
    [
        (UNMARKED, [], {"success": 1, "no_change": 2, "error": 0}),
        (MARKED, [], {"success": 0, "no_change": 3, "error": 0}),
        # Through the leader, although it has no part in the run; and only for those that have.
        (UNMARKED, ["--limit", "@fake/joined"], {"success": 1, "no_change": 0, "error": 0}),
        (UNMARKED, ["--limit", "@fake/cp"], {"success": 0, "no_change": 1, "error": 0}),
    ],
)
def test_one_host_changes_what_differs(
    tmp_path: Path, nodes: list[str], arguments: list[str], totals: dict[str, int]
) -> None:
    done = run_deploy(tmp_path, nodes, *arguments)
    found = json.loads(done.stdout)["results"]["totals"]
    assert {key: found[key] for key in totals} == totals


def test_nodes_that_cannot_be_read_are_not_nodes_without_marks(tmp_path: Path) -> None:
    done = run_deploy(tmp_path, {"success": False, "stderr": ["the connection was refused"]})
    assert done.returncode == 1
    assert "the connection was refused" in done.stderr


def run_deploy(tmp_path: Path, nodes: object, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Place the nodes of the inventory, where the API server answers as it is said here."""
    (tmp_path / "inventory.py").write_text(FRAMED + INVENTORY.replace("NODES", repr(nodes)))
    (tmp_path / "deploy.py").write_text(DEPLOY)
    return subprocess.run(
        [Path(sys.executable).with_name("pyinfra"), "-y", "--json", *arguments, "inventory.py", "deploy.py"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
