"""The leader and the cluster's members as fake machines report them, before and while operations run."""

import base64
import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pytest
from pyinfra.api import State
from pyinfra.api.exceptions import DeployError
from pyinfra.connectors.fake import FakeConnector

from kubeadm_deploys.cluster import leader
from kubeadm_deploys.cluster.deferred_check import DeferredCheck
from kubeadm_deploys.cluster.leader import ask_leader, ask_planned_leader, wait_for_kubeadm
from kubeadm_deploys.cluster.members import (
    ask_members,
    ask_planned_members,
    ask_planned_settings,
    ask_settings,
    begin_again,
    made_cluster,
)
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.kubeadm_node import MANIFESTS, KubeadmNode, KubeadmNodeState
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.remote.answers import answers_of
from kubeadm_deploys.remote.connections import guard_connections
from kubeadm_deploys.remote.reading import NotRead, ask, read
from kubeadm_deploys.remote.run_parts import Decisions
from kubeadm_deploys.sections.node_labels import NodeMarks
from tests.support.cluster_settings import answer
from tests.support.fake_answers import frame_answers
from tests.support.pyinfra_hosts import fake_hosts

NODES = tuple(
    Node(host=f"@fake/cp-{number}", name=f"cp-{number}", ip=f"10.0.0.{number}", address="")
    for number in (1, 2, 3)
)
TOPOLOGY = Topology(control_planes=NODES, workers=())

Responses = dict[str, Any]

FAILS: Responses = {"success": False, "stderr": "sh: 1: Cannot fork"}
ETCD = [json.dumps({"members": [{"ID": 1, "name": "cp-1", "peerURLs": ["https://10.0.0.1:2380"]}]})]
BARE: Responses = {"<<< KubeadmNode": ["machine-id m"]}


def control_plane(*, api: str = "ok", rotating: bool = True, **more: Any) -> Responses:
    """Return a control plane with a cluster; ``more`` are its answers to other facts."""
    files = (
        "kubelet.conf",
        "admin.conf",
        "pki/ca.key",
        "etcd",
        *(f"manifests/{name}.yaml" for name in MANIFESTS),
    )
    lines = [
        *(f"have:{file}" for file in files),
        "ca b3Vycw==",
        f"api {api}",
        *(["rotating"] if rotating else []),
    ]
    return {
        "<<< KubeadmNode": lines,
        "<<< ClusterMembers": [f"etcd {ETCD[0]}", "node:cp-1 machine=m ready=True control-plane"],
        "<<< EtcdMembers": ETCD,
        **{f"<<< {fact}": output for fact, output in more.items()},
    }


@pytest.fixture(autouse=True)
def hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frame the answers of fake hosts, and skip all waiting."""
    monkeypatch.setattr(FakeConnector, "_lookup_response", FakeConnector._lookup_response)
    frame_answers()
    monkeypatch.setattr(leader, "API_SECONDS", 0)
    monkeypatch.setattr(leader, "sleep", lambda _: None)


def machines(*responses: Responses) -> Mapping[str, Responses]:
    return {f"cp-{number}": answers for number, answers in enumerate(responses, start=1)}


@pytest.fixture
def alive() -> Iterator[State]:
    """Yield a run with a cluster of one control plane, and two bare machines."""
    with fake_hosts(machines(control_plane(), BARE, BARE)) as state:
        yield state


def becomes(state: State, number: int, responses: Responses) -> None:
    """Change a machine's answers from now on."""
    state.inventory.get_host(f"@fake/cp-{number}").connector.data["fake_responses"] = responses


UNREADABLE = [{"<<< KubeadmNode": FAILS}, {"<<<": FAILS}]


def test_a_cluster_is_found(alive: State) -> None:
    api_leader = ask_leader(alive, TOPOLOGY)
    assert (api_leader.leader, api_leader.exists, api_leader.problem) == (NODES[0].host, True, "")
    members = ask_members(alive, TOPOLOGY)
    assert members is not None and list(members.nodes) == ["cp-1"]
    assert api_leader.api_answers


@pytest.mark.parametrize("answers", UNREADABLE)
def test_a_control_plane_that_fails_to_answer_is_not_an_empty_machine(answers: Responses) -> None:
    for executing in (False, True):
        with fake_hosts(machines(answers, BARE, BARE), executing=executing) as state:
            api_leader = ask_leader(state, TOPOLOGY)
        assert not api_leader.exists
        assert "cp-1 could not be read (sh: 1: Cannot fork), and may have one" in api_leader.problem


@pytest.mark.parametrize("answers", UNREADABLE)
def test_a_cluster_that_stops_answering_still_exists(alive: State, answers: Responses) -> None:
    ask_leader(alive, TOPOLOGY)
    alive.is_executing = True
    becomes(alive, 1, answers)
    api_leader = ask_leader(alive, TOPOLOGY)
    assert api_leader.exists and not api_leader.healthy
    assert "can no longer be found" in api_leader.problem
    assert not api_leader.api_answers
    assert ask_members(alive, TOPOLOGY) is None


def test_after_begin_again_the_machines_are_read_again(alive: State) -> None:
    answers_of(alive).keep()
    assert ask_planned_members(alive, TOPOLOGY) is not None
    becomes(alive, 2, {"<<< KubeadmNode": ["machine-id other", "have:kubelet.conf"]})
    joined = control_plane()
    joined["<<< ClusterMembers"] = [*joined["<<< ClusterMembers"], "node:worker-1 machine=w ready=True"]
    becomes(alive, 1, joined)
    host = alive.inventory.get_host(NODES[1].host)
    assert read(host, KubeadmNode).machine_id == "m"
    answers_of(alive).begin_again()
    begin_again(alive)
    assert read(host, KubeadmNode).machine_id == "other"
    members = ask_planned_members(alive, TOPOLOGY)
    assert members is not None and "worker-1" in members.nodes


def test_after_begin_again_a_known_cluster_still_exists(alive: State) -> None:
    ask_planned_leader(alive, TOPOLOGY)
    becomes(alive, 1, BARE)
    begin_again(alive)
    api_leader = ask_planned_leader(alive, TOPOLOGY)
    assert api_leader.exists
    assert "can no longer be found" in api_leader.problem
    assert ask_planned_members(alive, TOPOLOGY) is None


def test_unreadable_members_are_an_error() -> None:
    error = "could not read cluster members: sh: 1: Cannot fork"
    answers = machines(control_plane(ClusterMembers=FAILS), BARE, BARE)
    with fake_hosts(answers) as state, pytest.raises(NotRead, match=error):
        ask_members(state, TOPOLOGY)


def test_members_are_empty_without_a_cluster_and_none_while_its_api_is_down() -> None:
    with fake_hosts(machines(BARE, BARE, BARE)) as state:
        assert ask_members(state, TOPOLOGY) == ClusterMembersState()
    with fake_hosts(machines(control_plane(api="not ready: etcd"), BARE, BARE)) as state:
        assert ask_members(state, TOPOLOGY) is None


STARTING = "not ready: connection refused"


@pytest.mark.parametrize(
    ("answers", "stored_nothing"),
    [
        # An init was killed before its API server had written anything.
        (control_plane(api=STARTING, rotating=False, EtcdKeys=[]), True),
        (control_plane(api=STARTING, rotating=False, EtcdKeys=["", ""]), True),
        # A cluster whose API server is down, and one whose etcd cannot be read.
        (control_plane(api=STARTING, rotating=False, EtcdKeys=["/registry/namespaces/default", ""]), False),
        (control_plane(api=STARTING, rotating=False, EtcdKeys=FAILS), False),
        # The power was cut before its etcd had stored anything; etcdctl gets no answer.
        (control_plane(api=STARTING, rotating=False, EtcdKeys=FAILS, EtcdLogIsEmpty=["empty"]), True),
        (control_plane(api=STARTING, rotating=False, EtcdKeys=FAILS, EtcdLogIsEmpty=["written"]), False),
        (control_plane(api=STARTING, rotating=False, EtcdKeys=FAILS, EtcdLogIsEmpty=FAILS), False),
        (control_plane(api=STARTING, rotating=True, EtcdKeys=FAILS, EtcdLogIsEmpty=["empty"]), False),
        # Its kubelet has joined, so the init got further than that.
        (control_plane(api=STARTING, rotating=True, EtcdKeys=[]), False),
    ],
)
def test_only_an_empty_etcd_means_that_no_cluster_exists(answers: Responses, stored_nothing: bool) -> None:
    with fake_hosts(machines(answers, BARE, BARE), executing=True) as state:
        api_leader = ask_leader(state, TOPOLOGY)
    assert api_leader.stored_nothing is stored_nothing
    assert api_leader.exists is not stored_nothing
    assert bool(api_leader.problem) is not stored_nothing


@pytest.mark.parametrize("second", [{"<<< KubeadmNode": FAILS}, control_plane(api=STARTING, rotating=False)])
def test_an_empty_etcd_proves_nothing_if_another_machine_may_have_the_cluster(second: Responses) -> None:
    first = control_plane(api=STARTING, rotating=False, EtcdKeys=[])
    with fake_hosts(machines(first, second, BARE), executing=True) as state:
        api_leader = ask_leader(state, TOPOLOGY)
    assert api_leader.exists and api_leader.problem


def test_kubeadm_of_an_earlier_run_is_waited_for(alive: State, monkeypatch: pytest.MonkeyPatch) -> None:
    host = alive.inventory.get_host(NODES[1].host)
    becomes(alive, 2, {"<<< KubeadmNode": ["kubeadm-runs"]})
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            becomes(alive, 2, BARE)

    monkeypatch.setattr(leader, "sleep", sleep)
    found = wait_for_kubeadm(host)
    assert isinstance(found, KubeadmNodeState) and found.machine_id == "m"
    assert len(waits) == 3
    becomes(alive, 2, {"<<< KubeadmNode": ["kubeadm-runs"]})
    monkeypatch.setattr(leader, "KUBEADM_SECONDS", 0)
    with pytest.raises(DeployError, match="@fake/cp-2: kubeadm of an earlier run has not finished"):
        wait_for_kubeadm(host)


def test_the_cluster_is_read_again_after_kubeadm_of_an_earlier_run_has_finished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The worker that it was joining is a node by then."""
    joining = {"<<< KubeadmNode": ["have:bootstrap-kubelet.conf", "kubeadm-runs"]}
    with fake_hosts({**machines(control_plane(NodeMarks=[])), "w": joining}) as state:
        guard_connections(state)
        first, worker = (state.inventory.get_host(f"@fake/{name}") for name in ("cp-1", "w"))
        assert read(first, NodeMarks).nodes == {}
        becomes(state, 1, control_plane(NodeMarks=["node|w|{}|[]|{}"]))
        monkeypatch.setattr(
            leader, "sleep", lambda _: worker.connector.data.update(fake_responses={"<<< KubeadmNode": []})
        )
        wait_for_kubeadm(worker)
        assert list(read(first, NodeMarks).nodes) == ["w"]


def test_the_leader_is_chosen_again_after_work_on_other_machines(alive: State) -> None:
    """Preparing a new machine takes minutes, in which an API server may stop."""
    guard_connections(alive)
    first, second = (alive.inventory.get_host(node.host) for node in NODES[:2])
    becomes(alive, 2, control_plane())
    assert ask_planned_leader(alive, TOPOLOGY).leader == first.name
    answers_of(alive).begin_again()
    begin_again(alive)
    alive.is_executing = True
    ask_planned_leader(alive, TOPOLOGY)
    alive.inventory.get_host(NODES[2].host).run_shell_command("apt-get install")
    becomes(alive, 1, control_plane(api="not ready: etcd"))
    assert ask_leader(alive, TOPOLOGY).leader == second.name


def test_settings_are_read_again_after_the_cluster_was_created(alive: State) -> None:
    only = Topology(control_planes=NODES[:1], workers=())
    guard_connections(alive)
    host = alive.inventory.get_host(NODES[0].host)
    becomes(alive, 1, control_plane(ClusterSettings=settings([])))
    assert ask_planned_settings(alive, only) is None
    alive.is_executing = True
    becomes(alive, 1, control_plane(ClusterSettings=settings(None)))
    made_cluster(alive, only, found=ask(host, KubeadmNode))
    assert ask_settings(alive, only) is not None


def settings(objects: list[Any] | None) -> list[str]:
    """Return the output of a control plane whose cluster has these objects; None means a complete cluster."""
    if objects is None:
        return answer()
    document = json.dumps({"items": objects})
    return [f"objects {base64.b64encode(document.encode()).decode()}"]


def test_a_deferred_check_runs_once_and_fails_every_host() -> None:
    deferred = DeferredCheck()
    deferred.make()
    made: list[str] = []

    def check() -> None:
        made.append("check")
        raise DeployError("cp-1: something was found")

    deferred.check = check
    for _ in range(3):
        with pytest.raises(DeployError, match="something was found"):
            deferred.make()
    assert made == ["check"]


def test_a_decision_is_made_once_by_the_first_caller() -> None:
    run = Decisions()
    assert [run.once("removal", partial(str, number)) for number in range(3)] == ["0", "0", "0"]
    assert run.once("reset", lambda: "other") == "other"

    def fails() -> None:
        raise DeployError("not now")

    for _ in range(2):
        with pytest.raises(DeployError):
            run.once("fails", fails)
