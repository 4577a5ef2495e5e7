"""Invariants of every history: each is a function that returns the problem, or "".

``AT_EACH_STEP`` are checked after every step of every change, ``AFTER_EACH_RUN`` after runs have ended,
``AT_THE_END`` after two runs of cluster.py without faults.
"""

import base64
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from kubeadm_deploys.facts.kubeadm_node import MANIFESTS
from kubeadm_deploys.facts.node_status import CORDONED_BY
from tests.simulation.cluster import KUBE_PROXY_PODS, Cluster
from tests.simulation.commands import Part
from tests.simulation.kubeadm import ADDONS, CLUSTER_INFO_READERS
from tests.simulation.machine import BOOTSTRAP_CONF, KUBELET_CONF, Machine, manifest
from tests.simulation.world import Change, World, ca_number


@dataclass(frozen=True, kw_only=True)
class Intent:
    """What a run's operator wants: the deploy, the nodes named for removal or reset, force, and another backup."""

    deploy: str = "cluster.py"
    named: frozenset[str] = frozenset()
    forced: bool = False
    restarts: bool = False


@dataclass(kw_only=True)
class Deed:
    """A change that a run makes on a machine or through it, and the state before it.

    ``harmed`` is the healthy member that it removes. ``with_majority`` and ``with_data`` are the numbers of
    the clusters whose etcd could write, or still had all acknowledged data, ``served`` those that API servers
    served. ``down`` are the other control planes that served no API.
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
    served: frozenset[int] = frozenset()
    down: tuple[str, ...] = ()

    @classmethod
    def of(cls, world: World, *, run: int, intent: Intent, machine: Machine, part: Part) -> "Deed":
        """Return a change that is about to be made."""
        return cls(
            world=world,
            run=run,
            intent=intent,
            machine=machine,
            part=part,
            harmed=harmed_by(world, machine, part),
            clusters=frozenset(world.clusters),
            with_majority=frozenset(
                cluster.number for cluster in world.own_clusters() if world.has_quorum(cluster)
            ),
            with_data=frozenset(
                cluster.number for cluster in world.own_clusters() if world.has_data(cluster)
            ),
            served=world.served(),
            down=tuple(
                other.name
                for cluster in world.own_clusters()
                for member in cluster.voters
                if (other := world.holder(cluster, member))
                and other is not machine
                and world.serves(other) is not cluster
            ),
        )

    @property
    def words(self) -> str:
        """The change as text."""
        return f"{self.part.label} on {self.machine.name}"


def harmed_by(world: World, machine: Machine, part: Part) -> str:
    """Return the healthy member that a change removes, "" if none."""
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
    """A machine with a foreign CA, a foreign etcd or another runtime's containers is not changed."""
    if not deed.machine.foreign:
        return ""
    return f"{deed.machine.name} is foreign ({deed.machine.foreign}), but was changed: {deed.part.label}"


def members_are_left_alone(deed: Deed) -> str:
    """A healthy member is cleaned, stopped or removed only if its operator named it."""
    if not deed.harmed or deed.harmed in deed.intent.named:
        return ""
    return f"{deed.harmed} is a healthy member that the operator did not name: {deed.words}"


def one_cluster(deed: Deed) -> str:
    """There are never two clusters with data in one inventory, unless the operator has given one up."""
    for number in deed.world.clusters.keys() - deed.clusters:
        others = [
            cluster
            for cluster in deed.world.own_clusters()
            if cluster.number != number and _has_disks(deed.world, cluster)
        ]
        if others:
            return f"there are two clusters: {deed.words} made another one"
    return ""


def majority_is_kept(deed: Deed) -> str:
    """A run never costs etcd its majority, unless the operator gives the cluster up."""
    # In an upgrade kubeadm replaces etcd, which one or two members cannot do without a moment's pause.
    lost = [
        cluster
        for cluster in deed.world.own_clusters()
        if cluster.number in deed.with_majority
        and not deed.world.has_quorum(cluster)
        and not (_upgrades_kubeadm(deed) and len(cluster.voters) <= 2)
    ]
    return f"etcd lost its majority by {deed.words}" if lost else ""


def objects_are_kept(deed: Deed) -> str:
    """A run never destroys acknowledged data, that is, the majority of etcd's disks."""
    lost = [
        cluster
        for cluster in deed.world.own_clusters()
        if cluster.number in deed.with_data and not deed.world.has_data(cluster)
    ]
    return f"acknowledged data was lost by {deed.words}" if lost else ""


def one_etcd_is_served(deed: Deed) -> str:
    """A run never makes API servers serve two etcd clusters under one name, for example after a restore."""
    now = deed.world.served()
    return (
        f"{len(now)} etcd clusters are served after {deed.words}"
        if len(now) > max(1, len(deed.served))
        else ""
    )


def one_control_plane_at_a_time(deed: Deed) -> str:
    """A static pod is taken out, and a control plane upgraded, only while all others run."""
    if _upgrades_kubeadm(deed) and deed.machine.has(KUBELET_CONF) and is_control_plane(deed):
        return f"{deed.words}, while {', '.join(deed.down)} is down" if deed.down else ""
    if deed.part.name != "swap-static-pod":
        return ""
    down = [
        machine.name
        for machine in deed.world.machines.values()
        if machine is not deed.machine
        and machine.etcd
        and deed.world.runs_etcd(machine)
        and machine.has(KUBELET_CONF)
        and not all(deed.world.starts(machine, name) for name in MANIFESTS[1:])
    ]
    return f"{deed.words} while {', '.join(down)} lacks a static pod" if down else ""


def _upgrades_kubeadm(deed: Deed) -> bool:
    return deed.part.label.startswith("kubeadm upgrade")


def is_control_plane(deed: Deed) -> bool:
    """Return whether a change is made on a control plane."""
    return deed.machine.etcd is not None


def kubelets_are_not_newer(deed: Deed) -> str:
    """In an upgrade, no kubelet is ever newer than an API server."""
    if deed.intent.deploy != "upgrade.py":
        return ""
    for cluster in deed.world.own_clusters():
        servers = [
            release
            for member in cluster.voters
            if (holder := deed.world.holder(cluster, member)) and (release := api_server_of(holder))
        ]
        for name in cluster.nodes:
            kubelet = deed.world.machines[name].kubelet
            if servers and kubelet and _numbers(kubelet) > min(map(_numbers, servers)):
                return f"{name} has kubelet {kubelet}, and the API servers {', '.join(servers)}: {deed.words}"
    return ""


def api_server_of(machine: Machine) -> str:
    """Return the release in the manifest of a machine's API server, empty without one."""
    text = machine.files.get(manifest("kube-apiserver"), "")
    return text.rpartition(":v")[2].strip()


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(map(int, release.split(".")))


AT_EACH_STEP: tuple[Callable[[Deed], str], ...] = (
    others_are_left_alone,
    members_are_left_alone,
    one_cluster,
    majority_is_kept,
    objects_are_kept,
    one_etcd_is_served,
    one_control_plane_at_a_time,
    kubelets_are_not_newer,
)


@dataclass(frozen=True, kw_only=True)
class Ran:
    """One run or concurrent runs: their ``outputs`` by number, and their ``changes``.

    ``whole`` are the successful runs of cluster.py for the whole ``inventory``, each with the time when it
    took the lock. ``restored`` are the successful runs of restore.py, each with the snapshot in its backup, and
    ``upgraded`` the successful runs of upgrade.py.
    """

    world: World
    outputs: Mapping[int, str]
    changes: Collection[Change]
    inventory: Collection[str] = ()
    whole: Mapping[int, float] = field(default_factory=dict)
    restored: Mapping[int, str] = field(default_factory=dict)
    upgraded: Collection[int] = ()

    @property
    def without_majority(self) -> set[int]:
        """Runs that continued without most locks because the operator said so, and reported it."""
        return {run for run, output in self.outputs.items() if "continues without the lock" in output}


def runs_do_not_mix(ran: Ran) -> str:
    """No run changes anything after another one has taken the lock: the changes of two runs do not mix."""
    order = [change.run for change in ran.changes if change.run not in ran.without_majority]
    turns = [run for number, run in enumerate(order) if number == 0 or order[number - 1] != run]
    if len(turns) == len(set(turns)):
        return ""
    return f"the changes of runs mix: {', '.join(map(str, turns))}"


def no_run_prints_a_traceback(ran: Ran) -> str:
    """A run that ends early says why in a sentence."""
    failed = [run for run, output in ran.outputs.items() if "Traceback (most recent call last)" in output]
    return f"run {failed[0]} ended with a traceback" if failed else ""


def a_successful_run_made_the_cluster(ran: Ran) -> str:
    """A successful run of cluster.py leaves a complete cluster, unless something else changes it."""
    machines = [ran.world.machines[name] for name in ran.inventory]
    for run, locked in ran.whole.items():
        changed_by_others = any(change.run != run and change.time > locked for change in ran.changes)
        if changed_by_others or any(
            not machine.is_up(ran.world.now) or machine.booted > locked for machine in machines
        ):
            continue
        if missing := list(_missing(ran.world, ran.inventory)):
            return f"run {run} succeeded, but {missing[0]}"
    return ""


def a_restore_has_the_backup(ran: Ran) -> str:
    """After a successful run of restore.py, every node reaches one cluster, which has every write of the backup."""
    world = ran.world
    for run, content in ran.restored.items():
        for name in ran.inventory:
            machine = world.machines[name]
            cluster = world.cluster_of_kubelet(machine)
            if not machine.is_up(world.now):
                continue
            if cluster is None or cluster.origin != content:
                return f"run {run} restored {content!r}, but {name} reaches {cluster and cluster.origin!r}"
            if cluster.acknowledged < world.snapshots[content].acknowledged:
                return f"run {run} lost acknowledged writes of the backup"
        if missing := list(_missing(world, ran.inventory)):
            return f"run {run} restored the cluster, but {missing[0]}"
    return ""


def an_upgrade_ends_whole(ran: Ran) -> str:
    """After a successful run of upgrade.py, all nodes have one release, and none is left cordoned by it."""
    if not ran.upgraded:
        return ""
    for cluster in ran.world.own_clusters():
        release = str(cluster.objects["kubeadm-config"]["kubernetesVersion"]).removeprefix("v")
        if "upgrade" in cluster.objects["kubeadm-deploys"]:
            return "the record still says that an upgrade has begun"
        for name, node in cluster.nodes.items():
            machine = ran.world.machines[name]
            if node.annotations:
                return f"{name} is still claimed"
            if node.kubelet != release or machine.kubelet != release:
                return f"{name} runs kubelet {machine.kubelet}, and the cluster has {release}"
            if machine.etcd and api_server_of(machine) != release:
                return f"{name} has API server {api_server_of(machine)}, and the cluster has {release}"
            if not machine.held.issuperset({"kubelet", "kubeadm", "kubectl"}):
                return f"{name}'s packages are not held"
    return ""


AFTER_EACH_RUN: tuple[Callable[[Ran], str], ...] = (
    a_restore_has_the_backup,
    runs_do_not_mix,
    no_run_prints_a_traceback,
    a_successful_run_made_the_cluster,
    an_upgrade_ends_whole,
)


@dataclass(frozen=True, kw_only=True)
class End:
    """The end of a history: machines that are not dead are up, and cluster.py has run twice without faults.

    ``inventory`` are names of machines, ``exit_codes``, ``outputs`` and ``changes`` those of the two runs,
    ``obstacles`` the problems that a person must solve before a run can make the inventory's cluster.
    """

    world: World
    inventory: Collection[str]
    exit_codes: tuple[int, int]
    outputs: tuple[str, str]
    changes: tuple[Collection[Change], Collection[Change]]
    obstacles: Collection[str] = field(default_factory=tuple)


def converges(end: End) -> str:
    """Without faults, one run of cluster.py makes the inventory's cluster, whatever earlier runs left."""
    if end.obstacles:
        return ""
    if end.exit_codes[0] != 0:
        return "cluster.py fails without an obstacle"
    missing = list(_missing(end.world, end.inventory))
    return f"cluster.py succeeded, but {missing[0]}" if missing else ""


def refuses_with_a_fix(end: End) -> str:
    """A run that cannot make the cluster says what a person must do."""
    world = end.world
    clusters = [cluster for cluster in world.clusters.values() if not cluster.foreign]
    lost = any(_has_disks(world, cluster) and not world.has_data(cluster) for cluster in clusters)
    fixes = _FIXES_OF_LOST_DATA if lost else _FIXES
    if end.exit_codes[0] == 0 or not end.obstacles or fixes.search(end.outputs[0]):
        return ""
    return f"cluster.py does not say what to do ({', '.join(end.obstacles)})"


def second_run_changes_nothing(end: End) -> str:
    """The next run changes nothing, and has the same result."""
    if end.changes[1]:
        first = next(iter(end.changes[1]))
        return f"a second run of cluster.py changes something: {first.what} on {first.machine}"
    if (end.exit_codes[0] == 0) is not (end.exit_codes[1] == 0):
        return f"cluster.py exits with {end.exit_codes[0]}, and the next run with {end.exit_codes[1]}"
    return ""


AT_THE_END: tuple[Callable[[End], str], ...] = (converges, refuses_with_a_fix, second_run_changes_nothing)

_FIXES_OF_LOST_DATA = re.compile(r"deploys/restore\.py|reset\.py")
"""If most of etcd's disks are gone, no other fix helps."""

_FIXES = re.compile(
    r"take (it|those of other clusters) out of|use another machine|make it reachable|remove_node\.py|reset\.py"
    r"|start (the|that) machine|restore\.py|move (it|that file) away|mount its disk|set node_name|back it up"
    r"|kubeadm init phase|systemctl status kubelet|Could not connect|correct its address|check the inventory's addresses|find out why with 'journalctl"
)


def _missing(world: World, inventory: Collection[str]) -> Iterator[str]:
    """Yield what is wrong with the cluster after a successful run."""
    serving = (world.serves(world.machines[name]) for name in inventory if name.startswith("cp-"))
    served = {cluster.number: cluster for cluster in serving if cluster}
    if len(served) != 1:
        yield f"API servers of {len(served)} clusters answer"
        return
    (cluster,) = served.values()
    for name in inventory:
        machine = world.machines[name]
        if name not in cluster.nodes or not world.is_ready(cluster, name):
            yield f"{name} is not Ready"
        elif CORDONED_BY in cluster.nodes[name].annotations:
            yield f"{name} is still claimed"
        if BOOTSTRAP_CONF in machine.files:
            yield f"{name} still has its token"
        if machine.own_fields != machine.own_fields_on_disk:
            yield f"{name}'s kubelet runs with other own fields than its file has"
        if machine.half_changed:
            yield f"{name} still has {machine.half_changed[0]} from before"
        if name.startswith("cp-") and world.serves(machine) is not cluster:
            yield f"{name} serves no API"
    for member in cluster.members.values():
        if member.learner or not member.name:
            yield f"etcd's member {member.name or member.ip} has no vote"
    if cluster.tokens:
        yield "a join token is still valid"
    for name in ("cluster-info", CLUSTER_INFO_READERS, *ADDONS, *ADDONS.values()):
        if name not in cluster.objects:
            yield f"{name}, an object of kubeadm init, does not exist"
    if cluster.objects.get(KUBE_PROXY_PODS, configuration := cluster.objects["kube-proxy"]) != configuration:
        yield "kube-proxy's pods do not have the configuration of its ConfigMap"


def obstacles(world: World, inventory: Collection[str], *, kubeconfig: str) -> Iterator[str]:
    """Yield the problems that a person must solve before cluster.py can make the inventory's cluster.

    ``kubeconfig`` is the content of the operator's kubeconfig.
    """
    machines = [world.machines[name] for name in inventory]
    clusters = [cluster for cluster in world.own_clusters() if _has_disks(world, cluster)]
    if len(clusters) > 1:
        yield "there are two clusters"
    for machine in machines:
        if machine.is_dead:
            yield f"{machine.name} is dead"
        if machine.foreign:
            yield f"{machine.name} is {machine.foreign}"
        elif machine.etcd and machine.has(KUBELET_CONF) and machine.lacks_manifests:
            # As an interrupted removal leaves it.
            yield f"{machine.name} lacks manifests"
    for cluster in clusters:
        if not world.has_quorum(cluster):
            yield "etcd has no majority"
        for name, node in cluster.nodes.items():
            if name in inventory and world.machines[name].machine_id != node.machine_id:
                yield f"{name} is not the machine of its Node object"
        for member in cluster.voters:
            holder = world.holder(cluster, member)
            if holder is None or holder.name not in inventory or not world.answers(cluster, member):
                yield f"{member.name} has a vote but is missing or does not answer"
    for machine in machines:
        if _is_left(machine, clusters):
            yield f"{machine.name} has files of a cluster that no longer exists"
    if kubeconfig and not any(_is_of(cluster, kubeconfig) for cluster in clusters):
        yield "the operator has the kubeconfig of an earlier cluster"


def _is_of(cluster: Cluster, kubeconfig: str) -> bool:
    return base64.b64encode((cluster.ca.strip() + "\n").encode()).decode() in kubeconfig.replace(
        "\n", ""
    ).replace(" ", "")


def _is_left(machine: Machine, clusters: Collection[Cluster]) -> bool:
    """Return whether a machine has files or data of a cluster that no longer exists."""
    if machine.etcd and machine.etcd.cluster not in {cluster.number for cluster in clusters}:
        return True
    return ca_number(machine) not in (0, *(cluster.authority for cluster in clusters))


def _has_disks(world: World, cluster: Cluster) -> bool:
    return any(world.holder(cluster, member) for member in cluster.members.values())
