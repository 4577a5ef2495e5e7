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
from kubeadm_deploys.entry import options_from_data
from kubeadm_deploys.errors import InputError
from kubeadm_deploys.facts.cluster_health import KUBECTL
from kubeadm_deploys.facts.placement import NodeMarks
from kubeadm_deploys.marks import MarkedNode, Marks, difference, wanted_marks
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.operations.joining import mark_command
from kubeadm_deploys.operations.placement import mark_commands
from kubeadm_deploys.options import ClusterOptions
from tests.fake_answers import ENVIRONMENT, FRAMED

ROOT = Path(__file__).parents[1]
NODE = Node(host="host-1", name="node-1", ip="10.0.0.1", address="203.0.113.1")
OTHER = Node(host="host-2", name="node-2", ip="10.0.0.2", address="203.0.113.2")
KUBEADMS_TAINT = "node-role.kubernetes.io/control-plane:NoSchedule"

# As kubectl 1.36 prints them: a control plane, a new worker, and one whose annotation has what our lines have.
KUBECTL_OUTPUT = r"""
cp|{"kubernetes.io/hostname":"cp","node-role.kubernetes.io/control-plane":""}|[{"effect":"NoSchedule","key":"node-role.kubernetes.io/control-plane"}]|{"node.alpha.kubernetes.io/ttl":"0"}
new|{"kubernetes.io/hostname":"new"}||
gpu|{"disk":"ssd"}|[{"effect":"NoSchedule","key":"dedicated","value":"gpu"},{"effect":"NoExecute","key":"node.kubernetes.io/not-ready","timeAdded":"2026-01-01T00:00:00Z"}]|{"kubeadm-deploys/placement":"[\"dedicated:NoSchedule\",\"disk\"]","odd":"a|b\n\u003c"}
""".strip()


def wanted(*, control_plane: bool = False, **fields: Any) -> Marks:
    return wanted_marks(dataclasses.replace(NODE, **fields), control_plane=control_plane)


def commands(
    data: Marks, *, marks: Marks | None = None, record: str = "", control_plane: bool = False
) -> list[list[str]]:
    """The commands that follow from data and from what is found, without what all of them have in common."""
    found = MarkedNode(marks=marks or {}, record=record)
    differs = difference(found=found, wanted=data, control_plane=control_plane)
    words = [without_kubectl(command) for command in mark_commands("node-1", found=found, differs=differs)]
    assert all(each[1:4] == ["--overwrite", "node", "node-1"] for each in words)
    return [[each[0], *each[4:]] for each in words]


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
        [
            "annotate",
            'kubeadm-deploys/placement=["dedicated:NoSchedule","disk","empty","node-role.kubernetes.io/gpu"]',
        ],
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
    assert commands(data, marks=marks, record='["dedicated:NoSchedule","disk"]') == []


def test_a_changed_value_needs_no_other_record() -> None:
    data = wanted(labels={"disk": "hdd"}, taints=("dedicated=ml:NoSchedule",))
    marks = {"disk": "ssd", "dedicated:NoSchedule": "gpu"}
    assert commands(data, marks=marks, record='["dedicated:NoSchedule","disk"]') == [
        ["label", "disk=hdd"],
        ["taint", "dedicated=ml:NoSchedule"],
    ]


def test_another_effect_takes_the_place_of_the_first_at_once() -> None:
    assert commands(
        wanted(taints=("dedicated=gpu:NoExecute",)),
        marks={"dedicated:NoSchedule": "gpu"},
        record='["dedicated:NoSchedule"]',
    ) == [
        ["annotate", 'kubeadm-deploys/placement=["dedicated:NoExecute","dedicated:NoSchedule"]'],
        ["taint", "dedicated=gpu:NoExecute", "dedicated:NoSchedule-"],
        ["annotate", 'kubeadm-deploys/placement=["dedicated:NoExecute"]'],
    ]


def test_what_data_no_longer_say_goes_and_what_others_set_stays() -> None:
    marks = {"disk": "ssd", "zone": "a", "team": "x", "spot:NoExecute": "", "theirs:NoSchedule": ""}
    assert commands(wanted(labels={"zone": "a"}), marks=marks, record='["disk","spot:NoExecute","zone"]') == [
        ["label", "disk-"],
        ["taint", "spot:NoExecute-"],
        ["annotate", 'kubeadm-deploys/placement=["zone"]'],
    ]
    assert commands(wanted(), marks=marks, record='["disk"]') == [
        ["label", "disk-"],
        ["annotate", "kubeadm-deploys/placement-"],
    ]


def test_what_data_say_is_taken_over_from_others() -> None:
    record = ["annotate", 'kubeadm-deploys/placement=["team"]']
    assert commands(wanted(labels={"team": "y"}), marks={"team": "x"}) == [record, ["label", "team=y"]]
    assert commands(wanted(labels={"team": "x"}), marks={"team": "x"}) == [record]


def test_what_somebody_else_took_away_is_added_again_or_forgotten() -> None:
    assert commands(wanted(labels={"disk": "ssd"}), record='["disk"]') == [["label", "disk=ssd"]]
    assert commands(wanted(), marks={"team": "x"}, record='["disk"]') == [
        ["annotate", "kubeadm-deploys/placement-"]
    ]


@pytest.mark.parametrize("record", ["{", "[1]", '{"labels":["team"]}', "null", "[]"])
def test_a_spoilt_record_takes_nothing_away_and_is_repaired(record: str) -> None:
    marks = {"team": "x", "1": "one"}
    assert commands(wanted(), marks=marks, record=record) == [["annotate", "kubeadm-deploys/placement-"]]


# A run that changes disk, removes old and spot, and adds new, killed after each of its four commands.
BOTH = '["disk","new:NoSchedule","old","spot:NoExecute"]'
KILLED = [
    ({"disk": "ssd", "old": "1", "spot:NoExecute": ""}, '["disk","old","spot:NoExecute"]'),
    ({"disk": "ssd", "old": "1", "spot:NoExecute": ""}, BOTH),
    ({"disk": "hdd", "spot:NoExecute": ""}, BOTH),
    ({"disk": "hdd", "new:NoSchedule": ""}, BOTH),
]
STEPS = [
    ["annotate", f"kubeadm-deploys/placement={BOTH}"],
    ["label", "disk=hdd", "old-"],
    ["taint", "new=:NoSchedule", "spot:NoExecute-"],
    ["annotate", 'kubeadm-deploys/placement=["disk","new:NoSchedule"]'],
]


@pytest.mark.parametrize("done", range(4))
def test_a_run_that_was_killed_is_gone_on_with(done: int) -> None:
    marks, record = KILLED[done]
    data = wanted(labels={"disk": "hdd"}, taints=("new:NoSchedule",))
    assert commands(data, marks={**marks, "team": "x"}, record=record) == STEPS[done:]


@pytest.mark.parametrize(("marks", "record"), KILLED)
def test_a_run_that_was_killed_leaves_nothing_that_data_could_not_take_back(
    marks: Marks, record: str
) -> None:
    *removals, last = commands(wanted(), marks={**marks, "team": "x"}, record=record)
    assert {word for _, *words in removals for word in words} == {f"{mark}-" for mark in marks}
    assert last == ["annotate", "kubeadm-deploys/placement-"]


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
        ["annotate", f'kubeadm-deploys/placement=["{KUBEADMS_TAINT}"]']
    ]


def test_what_kubectl_prints_is_understood() -> None:
    nodes = NodeMarks().process(KUBECTL_OUTPUT.splitlines())
    assert nodes["cp"].marks == {
        "kubernetes.io/hostname": "cp",
        "node-role.kubernetes.io/control-plane": "",
        KUBEADMS_TAINT: "",
    }
    assert nodes["cp"].record == ""
    assert nodes["new"] == MarkedNode(marks={"kubernetes.io/hostname": "new"})
    assert nodes["gpu"].marks == {
        "disk": "ssd",
        "dedicated:NoSchedule": "gpu",
        "node.kubernetes.io/not-ready:NoExecute": "",
    }
    data = wanted(labels={"disk": "ssd"}, taints=("dedicated=gpu:NoSchedule",))
    assert commands(data, marks=nodes["gpu"].marks, record=nodes["gpu"].record) == []


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
    "<<< KubeadmNode": ["machine-id m", "have:kubelet.conf", "have:manifests/kube-apiserver.yaml", "rotating", "api ok"],
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
UNMARKED = [KUBECTL_OUTPUT.splitlines()[0], "joined|{}||"]
MARKED = [
    UNMARKED[0],
    'joined|{"disk":"ssd","node-role.kubernetes.io/gpu":""}|[{"effect":"NoExecute","key":"spot"}]|'
    r'{"kubeadm-deploys/placement":"[\"disk\",\"node-role.kubernetes.io/gpu\",\"spot:NoExecute\"]"}',
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
    (tmp_path / "inventory.py").write_text(FRAMED + INVENTORY.replace("NODES", repr(nodes)))
    (tmp_path / "deploy.py").write_text(DEPLOY)
    done = subprocess.run(
        [Path(sys.executable).with_name("pyinfra"), "-y", "--json", *arguments, "inventory.py", "deploy.py"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    found = json.loads(done.stdout)["results"]["totals"]
    assert {key: found[key] for key in totals} == totals
