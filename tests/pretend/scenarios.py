"""Ordinary events on pretend machines, each of which once cost a cluster, or could have."""

from kubeadm_deploys.cluster_record import ClusterRecord
from tests.pretend.machine import Cluster, Machine
from tests.pretend.world import Answer, World, failure

BACKUP = "/etc/kubernetes/tmp/kubeadm-backup-manifests-2026-11-28-10-00-00"

NEWER = "9.9.9"
"""A release that nothing else here has."""


def node(
    cluster: Cluster, name: str, ip: str, *, control_plane: bool = False, made_anew: bool = False
) -> Machine:
    """A machine that is a node of a cluster."""
    machine = Machine(name=name, ip=ip, made_anew=made_anew)
    machine.joins(cluster, control_plane=control_plane)
    return machine


def well(control_planes: str = "1", unreachable: str = "", greeting: str = "") -> World:
    """A cluster with one worker in which everything is as it should be, but for a machine that cannot be reached, and
    for what the machines' login shells print.
    """
    cluster = Cluster()
    world = World(
        control_planes=[
            node(cluster, f"cp-{number}", f"10.0.0.{number}", control_plane=True)
            for number in range(1, int(control_planes) + 1)
        ],
        workers=[node(cluster, "worker-1", "10.0.0.9")],
    )
    _unreachable(world, unreachable)
    _greet(world, greeting)
    return world


def _greet(world: World, greeting: str) -> None:
    for machine in world.machines.values():
        machine.greeting = tuple(greeting.splitlines())


def _unreachable(world: World, name: str) -> None:
    if name:
        world.machines[name].reachable = False


def new(greeting: str = "") -> World:
    """Bare machines, whose login shells may print something."""
    world = World(
        control_planes=[Machine(name="cp-1", ip="10.0.0.1")],
        workers=[Machine(name="worker-1", ip="10.0.0.9")],
    )
    _greet(world, greeting)
    return world


def growing(unreachable: str = "", greeting: str = "") -> World:
    """A live cluster of one control plane, to which two bare machines are to be added; see ``well`` for the others."""
    cluster = Cluster()
    world = World(
        control_planes=[
            node(cluster, "cp-1", "10.0.0.1", control_plane=True),
            Machine(name="cp-2", ip="10.0.0.2"),
            Machine(name="cp-3", ip="10.0.0.3"),
        ]
    )
    _unreachable(world, unreachable)
    _greet(world, greeting)
    return world


def rebooting_while_growing(when: str) -> World:
    """The same; the connection to the first control plane breaks when the run is "locked", or has "changed" something."""
    world = growing()

    def before(world: World, machine: Machine, command: str) -> None:
        if machine.name == "cp-1" and {"locked": world.locked, "changed": world.changed}[when]:
            machine.connection = "SSH session not active"

    world.before = before
    return world


def another_run_first(what: str) -> World:
    """While a run waits for the lock another one ends, and has "joined" the worker, recorded a newer "release" of
    containerd or brought the cluster to a newer one of "Kubernetes".
    """
    cluster = Cluster()
    control_plane = node(cluster, "cp-1", "10.0.0.1", control_plane=True)
    worker = Machine(name="worker-1", ip="10.0.0.9")

    def before(world: World, machine: Machine, command: str) -> None:
        if "take-run-lock" not in command or world.locked:
            return
        if what == "joined":
            worker.joins(cluster)
        elif what == "release":
            record = ClusterRecord(data=cluster.record or {}).with_releases({"containerd": NEWER})
            cluster.record = dict(record.data)
        else:
            cluster.kubernetes_version = NEWER

    return World(control_planes=[control_plane], workers=[worker], before=before)


def another_run_at_once(when: str) -> World:
    """Another run has the lock of the only control plane: "always", or takes it from one that has "changed" something.

    The latter happens when the operator's machine was asleep for longer than the lock lasts.
    """
    world = growing()

    def before(world: World, machine: Machine, command: str) -> None:
        if machine.name == "cp-1" and (when == "always" or world.changed):
            machine.lock = "run 0123456789abcdef\nwho bob@laptop\nwhat remove_node.py"

    world.before = before
    return world


def question_fails(
    fact: str, *, times: str = "1000", when: str = "always", answered: str = "0", control_planes: str = "0"
) -> World:
    """A question fails on the first control plane, so many times: "always", or when the run is "locked" and it was
    ``answered`` so often since. The machine is one of so many ``control_planes`` of a cluster that is well; with "0" of
    one that grows.
    """
    world = well(control_planes) if int(control_planes) else growing()
    left, well_left = int(times), int(answered)

    def before(world: World, machine: Machine, command: str) -> Answer | None:
        nonlocal left, well_left
        early = when == "locked" and not world.locked
        if machine.name != "cp-1" or early or f"<<< {fact}'" not in command or left == 0:
            return None
        if well_left:
            well_left -= 1
            return None
        left -= 1
        return failure("sh: 1: Cannot fork")

    world.before = before
    return world


def foreign_machine(what: str) -> World:
    """An inventory with a wrong address: the machine called worker-9 is a "worker" or the only "control-plane" of
    another cluster, or has a standalone "etcd".
    """
    machine = Machine(name="worker-9", ip="10.0.0.9")
    if what == "etcd":
        machine.etcd_entries = ("member",)
    else:
        machine.joins(Cluster(name="production"), name="prod-1", control_plane=what == "control-plane")
    return World(
        control_planes=[node(Cluster(), "cp-1", "10.0.0.1", control_plane=True)],
        workers=[machine],
    )


def foreign_worker_without_a_cluster() -> World:
    """The control plane is a new, empty machine; the worker's wrong address is that of another cluster's worker."""
    machine = Machine(name="worker-9", ip="10.0.0.9")
    machine.joins(Cluster(name="production"), name="prod-9")
    return World(control_planes=[Machine(name="cp-1", ip="10.0.0.1")], workers=[machine])


def another_cluster() -> World:
    """The operator means the cluster "staging", and the address in the inventory is that of "production"."""
    production = Cluster(name="production")
    machine = Machine(name="cp-1", ip="10.0.0.1")
    machine.joins(production, name="prod-1", control_plane=True)
    for name in ("prod-worker-1", "prod-worker-2"):
        Machine(name=name, ip="").joins(production)
    return World(control_planes=[machine], data={"cluster_name": "staging"})


def two_clusters() -> World:
    """Of the inventory's two control planes each is the only one of a cluster."""
    return World(
        control_planes=[
            node(Cluster(), f"cp-{number}", f"10.0.0.{number}", control_plane=True) for number in (1, 2)
        ]
    )


def made_anew(what: str) -> World:
    """kubelet.conf was made anew on a healthy "worker", the "only" control plane, or the "third" one."""
    world = well("3" if what == "third" else "1")
    world.machines[{"worker": "worker-1", "only": "cp-1", "third": "cp-3"}[what]].made_anew = True
    return world


def known_by_another_address() -> World:
    """etcd knows a healthy, voting control plane under another of its addresses."""
    world = well("3")
    cluster = world.machines["cp-3"].serves
    assert cluster
    cluster.etcd["cp-3"] = "192.168.0.3"
    return world


def one_worker_down() -> World:
    """Two workers, of which one does not answer."""
    world = well()
    cluster = world.machines["cp-1"].serves
    assert cluster
    down = node(cluster, "worker-2", "10.0.0.10")
    down.reachable = False
    return World(control_planes=world.control_planes, workers=[*world.workers, down])


def manifest_missing(name: str, *, has_backup: str = "yes") -> World:
    """kubeadm was killed between its two renames of a manifest of the only control plane."""
    world = well()
    world.machines["cp-1"].missing = {name: f"{BACKUP}/{name}.yaml" if has_backup == "yes" else ""}
    return world


def drain_fails() -> World:
    """A disruption budget does not let a pod go."""
    world = well()

    def before(world: World, machine: Machine, command: str) -> Answer | None:
        return failure("error when evicting pods/web-1: Cannot evict pod") if " drain " in command else None

    world.before = before
    return world


def removed_meanwhile() -> World:
    """Three control planes. While a run waits for the lock, other runs have removed all but the second one."""
    world = well("3")

    def before(world: World, machine: Machine, command: str) -> None:
        if "take-run-lock" in command and not world.locked:
            for name in ("cp-1", "cp-3"):
                world.machines[name].leaves()

    world.before = before
    return world
