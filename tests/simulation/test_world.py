"""Simulated machines behave like real ones where it matters: etcd's votes, kubeadm's steps, interruptions."""

import re

import pytest

from kubeadm_deploys.cluster.cleaning import clean_command
from kubeadm_deploys.facts.etcd import EtcdMembers
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode, KubeadmNodeState, NodeState, node_state
from kubeadm_deploys.remote.answers import Reading
from kubeadm_deploys.remote.reading import Questions
from kubeadm_deploys.run.run_lock import Holder, asked_with, fenced, take_command
from kubeadm_deploys.sections.images import Images
from tests.simulation import invariants
from tests.simulation.beginning import begin
from tests.simulation.commands import SEVERAL, Part, UnknownCommand, fence_of, sent
from tests.simulation.history import Command, Event, Fault, History, Host
from tests.simulation.readings import Readings
from tests.simulation.scripts import Scripts
from tests.simulation.shrink import shortened, without_host, without_step
from tests.simulation.world import Failed, World
from tests.support.fake_answers import ROOT

HOLDER = Holder(run="0123456789abcdef", who="alice@laptop", what="cluster.py")


def world_of(*begins: str) -> World:
    """Return a world of control planes."""
    return begin(
        tuple(Host(name=f"cp-{number}", begins=state) for number, state in enumerate(begins, start=1))
    )


def read(world: World, name: str) -> KubeadmNodeState:
    """Return the product's reading of a machine."""
    part = Part(reading=True, name="KubeadmNode")
    return KubeadmNode().process(Readings(world).kubeadm_node(world.machines[name], part))


def test_etcd_only_writes_with_a_majority() -> None:
    world = world_of("member", "member", "member")
    (cluster,) = world.clusters.values()
    world.machines["cp-1"].reboots(now=0, seconds=40)
    world.write(cluster)
    world.machines["cp-2"].reboots(now=0, seconds=40)
    assert not world.has_quorum(cluster) and world.has_data(cluster)
    with pytest.raises(Failed, match="request timed out"):
        world.write(cluster)
    assert world.serves(world.machines["cp-3"]) is None
    world.now = 40
    assert world.has_quorum(cluster)
    world.machines["cp-1"].etcd = world.machines["cp-2"].etcd = None
    assert not world.has_data(cluster)


def test_a_learner_has_no_vote_and_serves_no_api() -> None:
    # A control plane's join stopped after its etcd had started, before it was promoted.
    world = world_of("member", "half 9")
    (cluster,) = world.clusters.values()
    assert [member.learner for member in cluster.members.values()] == [False, True]
    assert world.answers(cluster, list(cluster.members.values())[1])
    assert world.serves(world.machines["cp-2"]) is None
    assert read(world, "cp-2").api == "not ready: etcd etcd-readiness"
    with pytest.raises(Failed, match="not supported for learner"):
        Readings(world).etcd_members(world.machines["cp-2"], Part(reading=True, name="EtcdMembers"))
    world.machines["cp-2"].reboots(now=0, seconds=40)
    assert world.has_quorum(cluster)


def test_the_product_recognises_a_member() -> None:
    world = world_of("member")
    state = read(world, "cp-1")
    assert node_state(state) is NodeState.MEMBER and state.api == "ok" and state.has_cluster


@pytest.mark.parametrize("steps", range(1, 15))
def test_an_interrupted_init_is_partial_until_its_last_phase_but_one(steps: int) -> None:
    state = read(world_of(f"half {steps}"), "cp-1")
    expected = NodeState.ABSENT if steps == 1 else NodeState.PARTIAL if steps < 13 else NodeState.MEMBER
    assert node_state(state) is expected, steps


def test_interrupted_cleaning_can_be_repeated() -> None:
    for cut in range(1, 9):
        world = world_of("member")
        machine = world.machines["cp-1"]
        part = Part(name="clean-machine", words=("",))
        for number, _ in enumerate(Scripts(world).steps(machine, part, ""), start=1):
            if number == cut:
                break
        list(Scripts(world).steps(machine, part, ""))
        assert read(world, "cp-1").files == frozenset()
        assert node_state(read(world, "cp-1")) is NodeState.ABSENT


def test_commands_are_parsed() -> None:
    clean = clean_command(saved="/var/lib/etcd/kept").get_raw_value()
    (part,) = sent("cp-1", clean).parts
    assert (part.name, part.words[0]) == ("clean-machine", "/var/lib/etcd/kept")
    run, command = fence_of(fenced(clean, HOLDER).get_raw_value())
    assert (run, command) == (HOLDER.run, clean)
    alone = Questions([Reading(EtcdMembers)]).command()
    (part,) = sent("cp-1", alone.get_raw_value()).parts
    assert (part.reading, part.name, part.words[:2]) == (True, "EtcdMembers", ("member", "list"))


def test_a_lock_with_several_readings_is_parsed() -> None:
    several = Questions([Reading(Images), Reading(KubeadmNode), Reading.of(Images, seconds=5)]).command()
    locked = sent("cp-1", asked_with(take_command(HOLDER), several).get_raw_value())
    assert locked.lock and locked.lock.words[:4] == ("/run/kubeadm-deploys", "180", HOLDER.run, "")
    assert (locked.label, locked.beside) == ("take-run-lock", True)
    assert [part.name for part in locked.parts] == ["Images", "KubeadmNode"]
    assert sent("cp-1", several.get_raw_value()).label == SEVERAL
    alone = sent("cp-1", asked_with(take_command(HOLDER)).get_raw_value())
    assert alone.lock and alone.lock.frame == "RunLock" and alone.parts == ()


@pytest.mark.parametrize("command", ["rm -rf /", "sh -c 'reboot'", "kubectl delete node cp-1", "echo hello"])
def test_an_unknown_command_fails_with_its_text(command: str) -> None:
    with pytest.raises(UnknownCommand, match=re.escape(command)):
        sent("cp-1", command)


LONG = History(
    hosts=tuple(Host(name=name) for name in ("cp-1", "cp-2", "worker-1")),
    steps=(
        (Command(deploy="cluster.py"),),
        Event(what="dies", machine="cp-2"),
        (
            Command(deploy="remove_node.py", arguments=("--data=node=cp-2",)),
            Command(deploy="cluster.py", operator="bob"),
        ),
        (Command(deploy="reset.py"),),
    ),
    faults=(
        Fault(run=0, machine="cp-1", what="drain", kind="fails"),
        Fault(run=2, machine="cp-1", what="drain", kind="fails"),
        Fault(run=3, machine="cp-2", what="drain", kind="fails"),
    ),
)


def test_a_history_without_a_step_keeps_the_faults_of_the_others() -> None:
    assert [fault.run for fault in without_step(LONG, 0).faults] == [1, 2]
    assert [(fault.run, fault.machine) for fault in without_step(LONG, 2).faults] == [
        (0, "cp-1"),
        (1, "cp-2"),
    ]
    assert without_host(LONG, "cp-2").steps == (
        (Command(deploy="cluster.py"),),
        (Command(deploy="reset.py"),),
    )


def test_the_shortest_history_is_found() -> None:
    def breaks(history: History) -> bool:
        return any(fault.machine == "cp-1" and fault.run == 2 for fault in history.faults) or (
            len(history.steps) == 1 and any(fault.run == 0 for fault in history.faults)
        )

    shortest = shortened(LONG, breaks)
    assert shortest == History(
        hosts=(Host(name="cp-1"),),
        steps=((Command(deploy="cluster.py"),),),
        faults=(Fault(run=0, machine="cp-1", what="drain", kind="fails"),),
    )
    assert History.of_text(shortest.as_text()) == shortest


def test_the_invariants_are_documented() -> None:
    text = (ROOT / "docs/histories.md").read_text()
    listed = re.findall(r"^- `(\w+)`: (.*)$", text, re.MULTILINE)
    everything = (*invariants.AT_EACH_STEP, *invariants.AFTER_EACH_RUN, *invariants.AT_THE_END)
    assert listed == [(invariant.__name__, (invariant.__doc__ or "").strip()) for invariant in everything]
