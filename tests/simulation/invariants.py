"""What must hold in every history: each a function that says what is wrong, or nothing.

``AT_EACH_STEP`` are asked after every step of every change, ``AFTER_EACH_RUN`` when runs have ended, ``AT_THE_END``
when nothing goes wrong any more and cluster.py has run twice.
"""

import base64
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from tests.simulation.cluster import Cluster
from tests.simulation.commands import Part
from tests.simulation.machine import BOOTSTRAP_CONF, KUBELET_CONF, Machine
from tests.simulation.world import Change, World, ca_number


@dataclass(frozen=True, kw_only=True)
class Intent:
    """What the operator of a run means: the nodes that are named to go, and whether with force."""

    deploy: str = "cluster.py"
    named: frozenset[str] = frozenset()
    forced: bool = False


@dataclass(kw_only=True)
class Deed:
    """A change that a run makes on a machine, or through it, with what was so before.

    ``harmed`` is the healthy member that it takes away, ``with_majority`` and ``with_data`` are numbers of clusters whose
    etcd could write, and had what was acknowledged.
    """

    world: World
    run: int
    intent: Intent
    machine: Machine
    part: Part
    harmed: str = ""
    clusters: frozenset[int] = frozenset()
    with_majority: frozenset[int] = frozenset()
    with_data: frozenset[int] = frozenset()

    @classmethod
    def of(cls, world: World, *, run: int, intent: Intent, machine: Machine, part: Part) -> "Deed":
        """A change that is about to be made."""
        return cls(
            world=world,
            run=run,
            intent=intent,
            machine=machine,
            part=part,
            harmed=harmed_by(world, machine, part),
            clusters=frozenset(world.clusters),
            with_majority=frozenset(each.number for each in world.ours() if world.has_quorum(each)),
            with_data=frozenset(each.number for each in world.ours() if world.has_data(each)),
        )

    @property
    def words(self) -> str:
        """It in words."""
        return f"{self.part.label} on {self.machine.name}"


def harmed_by(world: World, machine: Machine, part: Part) -> str:
    """The healthy member that a change takes away, empty without one."""
    if part.name in ("clean-machine", "stop-api-server"):
        return machine.name if world.is_healthy_member(machine) else ""
    if part.name == "delete node":
        cluster, name = world.serves(machine), part.words[-1]
        return name if cluster and name in cluster.nodes and world.is_ready(cluster, name) else ""
    if part.name == "member remove" and machine.etcd:
        cluster = world.clusters[machine.etcd.cluster]
        member = cluster.members.get(int(part.words[-1], 16))
        return member.name if member and not member.learner and world.answers(cluster, member) else ""
    return ""


def others_are_left_alone(deed: Deed) -> str:
    """A machine with another CA, another etcd or another runtime's containers is not changed."""
    if not deed.machine.foreign:
        return ""
    return f"{deed.machine.name} is not ours ({deed.machine.foreign}), and was changed: {deed.part.label}"


def members_are_left_alone(deed: Deed) -> str:
    """No healthy member is cleaned, stopped or taken out that was not named by its operator."""
    if not deed.harmed or deed.harmed in deed.intent.named:
        return ""
    return f"{deed.harmed} is a healthy member that nobody has named: {deed.words}"


def one_cluster(deed: Deed) -> str:
    """There are never two clusters of ours with data, unless the operator has given one up."""
    for number in deed.world.clusters.keys() - deed.clusters:
        others = [
            each for each in deed.world.ours() if each.number != number and _has_disks(deed.world, each)
        ]
        if others:
            return f"there are two clusters: {deed.words} has made another one"
    return ""


def majority_is_kept(deed: Deed) -> str:
    """etcd's majority is never lost by what a run does, unless the operator gives the cluster up."""
    lost = [
        each
        for each in deed.world.ours()
        if each.number in deed.with_majority and not deed.world.has_quorum(each)
    ]
    return f"etcd has lost its majority by {deed.words}" if lost else ""


def objects_are_kept(deed: Deed) -> str:
    """What was acknowledged is there as long as a majority of etcd's disks is: no run takes that away."""
    lost = [
        each for each in deed.world.ours() if each.number in deed.with_data and not deed.world.has_data(each)
    ]
    return f"acknowledged objects are lost by {deed.words}" if lost else ""


AT_EACH_STEP: tuple[Callable[[Deed], str], ...] = (
    others_are_left_alone,
    members_are_left_alone,
    one_cluster,
    majority_is_kept,
    objects_are_kept,
)


@dataclass(frozen=True, kw_only=True)
class Ran:
    """Runs that were beside each other, or one: their ``outputs`` by number and the ``changes`` that they made.

    ``whole`` are the runs of cluster.py for the whole ``inventory`` that have ended well, each with the time when it took
    the lock. ``without_majority`` are those that went on without the lock of most control planes, as the operator has told
    them.
    """

    world: World
    outputs: Mapping[int, str]
    changes: Collection[Change]
    inventory: Collection[str] = ()
    whole: Mapping[int, float] = field(default_factory=dict)

    @property
    def without_majority(self) -> set[int]:
        """Runs that were told to go on without the lock, and have said so."""
        return {run for run, output in self.outputs.items() if "goes on without the lock" in output}


def one_run_at_a_time(ran: Ran) -> str:
    """No run changes anything after another one has taken the lock: the changes of two runs do not mix."""
    order = [change.run for change in ran.changes if change.run not in ran.without_majority]
    turns = [run for number, run in enumerate(order) if number == 0 or order[number - 1] != run]
    if len(turns) == len(set(turns)):
        return ""
    return f"the changes of runs mix: {', '.join(map(str, turns))}"


def nobody_reads_a_traceback(ran: Ran) -> str:
    """A run that ends early says why, in a sentence."""
    shown = [run for run, output in ran.outputs.items() if "Traceback (most recent call last)" in output]
    return f"run {shown[0]} ended with a traceback" if shown else ""


def ended_well_is_well(ran: Ran) -> str:
    """A run of cluster.py that ends well has made the inventory's cluster, unless something else has changed it meanwhile."""
    machines = [ran.world.machines[name] for name in ran.inventory]
    for run, locked in ran.whole.items():
        touched = any(change.run != run and change.time > locked for change in ran.changes)
        if touched or any(not each.is_up(ran.world.now) or each.booted > locked for each in machines):
            continue
        if missing := list(_missing(ran.world, ran.inventory)):
            return f"run {run} has ended well, and {missing[0]}"
    return ""


AFTER_EACH_RUN: tuple[Callable[[Ran], str], ...] = (
    one_run_at_a_time,
    nobody_reads_a_traceback,
    ended_well_is_well,
)


@dataclass(frozen=True, kw_only=True)
class End:
    """The end of a history: nothing goes wrong any more, every machine that lives is up, and cluster.py has run twice.

    ``inventory`` are names of machines, ``exit_codes``, ``outputs`` and ``changes`` those of the two runs, ``obstacles``
    what a person has to deal with before a run can make the inventory's cluster.
    """

    world: World
    inventory: Collection[str]
    exit_codes: tuple[int, int]
    outputs: tuple[str, str]
    changes: tuple[Collection[Change], Collection[Change]]
    obstacles: Collection[str] = field(default_factory=tuple)


def converges(end: End) -> str:
    """When nothing goes wrong any more, one run of cluster.py makes the inventory's cluster, whatever was left behind."""
    if end.obstacles:
        return ""
    if end.exit_codes[0] != 0:
        return "cluster.py fails, although nothing is in its way"
    missing = list(_missing(end.world, end.inventory))
    return f"cluster.py has ended well, and {missing[0]}" if missing else ""


def refuses_with_a_cure(end: End) -> str:
    """A run that cannot make the cluster says what a person has to do."""
    if end.exit_codes[0] == 0 or not end.obstacles or _CURES.search(end.outputs[0]):
        return ""
    return f"cluster.py says nothing that a person can do ({', '.join(end.obstacles)})"


def second_run_changes_nothing(end: End) -> str:
    """The next run changes nothing, and ends like the one before."""
    if end.changes[1]:
        first = next(iter(end.changes[1]))
        return f"a second run of cluster.py changes something: {first.what} on {first.machine}"
    if (end.exit_codes[0] == 0) is not (end.exit_codes[1] == 0):
        return f"cluster.py ends with {end.exit_codes[0]}, and the next one with {end.exit_codes[1]}"
    return ""


AT_THE_END: tuple[Callable[[End], str], ...] = (converges, refuses_with_a_cure, second_run_changes_nothing)

_CURES = re.compile(
    r"take (it|those of other clusters) out of|take another machine|make it reachable|remove_node\.py|reset\.py"
    r"|start (the|that) machine|restored from a backup|move (it|that file) away|mount its disk|set node_name|back it up"
    r"|kubeadm init phase|systemctl status kubelet|Could not connect|correct its address|check the inventory's addresses|find out why with 'journalctl"
)


def _missing(world: World, inventory: Collection[str]) -> Iterator[str]:
    """What is not as it should be after a run that has ended well."""
    # Also one that its operator has given up, by a reset that did not come as far as to its data.
    serving = (world.serves(world.machines[name]) for name in inventory if name.startswith("cp-"))
    served = {each.number: each for each in serving if each}
    if len(served) != 1:
        yield f"API servers of {len(served)} clusters answer"
        return
    (cluster,) = served.values()
    for name in inventory:
        machine = world.machines[name]
        if name not in cluster.nodes or not world.is_ready(cluster, name):
            yield f"{name} is not Ready"
        if BOOTSTRAP_CONF in machine.files:
            yield f"{name} has its token still"
        if name.startswith("cp-") and world.serves(machine) is not cluster:
            yield f"{name} serves no API"
    for member in cluster.members.values():
        if member.learner or not member.name:
            yield f"etcd has {member.name or member.ip}, which has no vote"
    if cluster.tokens:
        yield "a join token is still valid"


def obstacles(world: World, inventory: Collection[str], *, kubeconfig: str) -> Iterator[str]:
    """What a person has to deal with before cluster.py can make the inventory's cluster; ``kubeconfig`` is the text of the
    operator's one.
    """
    machines = [world.machines[name] for name in inventory]
    clusters = [each for each in world.ours() if _has_disks(world, each)]
    if len(clusters) > 1:
        yield "there are two clusters"
    for machine in machines:
        if machine.is_dead:
            yield f"{machine.name} is dead"
        if machine.foreign:
            yield f"{machine.name} is {machine.foreign}"
        elif machine.etcd and machine.has(KUBELET_CONF) and machine.lacks_manifests:
            # As a removal leaves it that has not come to its end.
            yield f"{machine.name} lacks manifests"
    for cluster in clusters:
        if not world.has_quorum(cluster):
            yield "etcd has no majority"
        for name, node in cluster.nodes.items():
            if name in inventory and world.machines[name].machine_id != node.machine_id:
                yield f"{name} is another machine than its node"
        for member in cluster.voters:
            holder = world.holder(cluster, member)
            if holder is None or holder.name not in inventory or not world.answers(cluster, member):
                yield f"{member.name} has a vote and is not there"
    for machine in machines:
        if _is_left(machine, clusters):
            yield f"{machine.name} has files of a cluster that is gone"
    if kubeconfig and not any(_is_of(cluster, kubeconfig) for cluster in clusters):
        yield "the operator has the kubeconfig of an earlier cluster"


def _is_of(cluster: Cluster, kubeconfig: str) -> bool:
    return base64.b64encode((cluster.ca.strip() + "\n").encode()).decode() in kubeconfig.replace(
        "\n", ""
    ).replace(" ", "")


def _is_left(machine: Machine, clusters: Collection[Cluster]) -> bool:
    """Whether a machine has files or data of a cluster that is not there any more."""
    if machine.etcd and machine.etcd.cluster not in {cluster.number for cluster in clusters}:
        return True
    return ca_number(machine) not in (0, *(cluster.authority for cluster in clusters))


def _has_disks(world: World, cluster: Cluster) -> bool:
    return any(world.holder(cluster, member) for member in cluster.members.values())
