"""Play a history: run its commands on its machines with its faults, and check the invariants."""

import random
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from kubeadm_deploys.documents.backup_file import SNAPSHOT
from kubeadm_deploys.documents.cluster_record import ClusterRecord
from kubeadm_deploys.documents.node_kubelet import FIELDS_FILE
from tests.simulation import invariants
from tests.simulation.beginning import begin, machine_of, prepare
from tests.simulation.cluster import KUBE_PROXY_PODS
from tests.simulation.course import Course, Faults, Rolled, Written
from tests.simulation.door import Deploy, Done, run_deploys
from tests.simulation.history import Command, Event, Fault, History
from tests.simulation.invariants import End, Intent, Ran
from tests.simulation.world import Change, World
from tests.support.fake_answers import ROOT

T = TypeVar("T")

_ENOUGH = 400
"""Seconds after which all faults are over: a reboot, and the lock of a killed run."""

_LEASE = 180
"""Seconds after which a lock that is not renewed expires."""

_AWAY = {"reboots": 40.0, "stops": 1e6, "dies": float("inf")}
"""Seconds for which a machine is away, by event."""

_LEAVES_NODES_OUT = ("--dry", "--limit=", "--data=only=")
"""Arguments with which upgrade.py need not end the upgrade."""

FINAL = Command(deploy="cluster.py")


class NoFaults:
    """A source without faults."""

    def at(self, moment: object) -> Fault | None:
        """Return None."""
        return None


@dataclass(kw_only=True)
class Played:
    """A played history with the faults that happened.

    ``broken`` are the violated invariants with their problems, ``runs`` is the number of runs, ``changes``
    are theirs in order, and ``files`` are the files in the operators' folders by path.
    """

    history: History
    broken: list[str]
    log: list[str]
    runs: int = 0
    outputs: dict[int, str] = field(default_factory=dict)
    exit_codes: dict[int, int] = field(default_factory=dict)
    obstacles: tuple[str, ...] = ()
    changes: list[Change] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def kinds(self) -> frozenset[str]:
        """The names of the violated invariants."""
        return frozenset(problem.partition(":")[0] for problem in self.broken)


def play(
    history: History,
    *,
    dice: random.Random | None = None,
    change: Callable[[], None] = lambda: None,
    closing: bool = True,
) -> Played:
    """Play a history with its own faults, or with random faults of ``dice``.

    ``change`` is called in the process of each run before it begins, for example to break the product.
    ``closing`` is whether cluster.py runs twice at the end.
    """
    faults: Rolled | Written = Rolled(dice) if dice else Written(history.faults)
    with tempfile.TemporaryDirectory(prefix="history-") as folder:
        player = _Player(history, faults=faults, folder=Path(folder), change=change)
        player.play(dice, closing=closing)
        return Played(
            history=replace(history, faults=tuple(faults.happened)),
            broken=player.course.world.broken,
            log=player.course.log,
            runs=player.runs,
            outputs=player.outputs,
            exit_codes=player.exit_codes,
            obstacles=player.obstacles,
            changes=player.course.world.changes,
            files={
                str(path.relative_to(folder)): path.read_text(errors="replace")
                for path in Path(folder).glob("*/*")
                if path.name != "inventory.py" and path.is_file()
            },
        )


class _Player:
    def __init__(
        self, history: History, *, faults: Rolled | Written, folder: Path, change: Callable[[], None]
    ) -> None:
        self.history = history
        self.faults: Faults = faults
        self.folder = folder
        self.change = change
        self.course = Course(world=begin(history.hosts), faults=faults)
        self.inventory = [host.name for host in history.hosts]
        self.runs = 0
        self.outputs: dict[int, str] = {}
        self.exit_codes: dict[int, int] = {}
        self.obstacles: tuple[str, ...] = ()

    @property
    def world(self) -> World:
        return self.course.world

    def play(self, dice: random.Random | None, *, closing: bool) -> None:
        for step in self.history.steps:
            if isinstance(step, Event):
                self._happens(step)
                continue
            if dice and isinstance(self.faults, Rolled):
                for number in range(len(step)):
                    self.faults.allow(self.runs + number, dice.choices((0, 1, 2, 3, 5), (2, 4, 3, 2, 1))[0])
                if len(step) > 1 and step[1].after > _LEASE:
                    self.faults.suspend(self.runs)
            self._run(step)
            if self.world.broken:
                return
        if closing:
            self._end()

    def _happens(self, event: Event) -> None:
        if event.after:
            now = replace(event, after=0)
            self.course.later.append((self.world.now + event.after, lambda: self._happens(now)))
            return
        world, machine = self.world, self.world.machines[event.machine]
        self.course.log.append(f"{world.now:8.1f} {event.machine} {event.what}")
        if event.what in _AWAY:
            if not machine.is_dead:
                machine.reboots(now=world.now, seconds=_AWAY[event.what])
        elif event.what in ("replaced", "replaced, bare"):
            host = next(host for host in self.history.hosts if host.name == event.machine)
            replacement = machine_of(host)
            replacement.machine_id = f"id-{host.name}-{world.number()}"
            replacement.booted = world.now - 100
            if event.what == "replaced":
                prepare(replacement, control_plane=host.control_plane)
            world.machines[event.machine] = replacement
        elif event.what == "forgotten":
            if any(world.belongs(machine, cluster) for cluster in world.own_clusters()):
                # A machine is only removed from the inventory after it has left.
                return
            self.inventory = [name for name in self.inventory if name != event.machine]
        elif event.what == "node deleted":
            for cluster in world.own_clusters():
                if world.has_quorum(cluster) and event.machine in cluster.nodes:
                    del cluster.nodes[event.machine]
                    world.write(cluster)
        elif event.what == "log emptied":
            assert machine.etcd
            world.clusters[machine.etcd.cluster].members.clear()
        elif event.what == "left out":
            machine.reboots(now=world.now, seconds=_AWAY["stops"])
            self.inventory = [name for name in self.inventory if name != event.machine]
        elif event.what == "put back":
            machine.reboots(now=world.now, seconds=0)
            known = {*self.inventory, event.machine}
            self.inventory = [host.name for host in self.history.hosts if host.name in known]
            world.settle()
        elif event.what == "written":
            cluster = world.kubectl(machine)
            world.write(cluster)
            cluster.acknowledged += 1
        elif event.what.startswith("deleted /"):
            path = event.what.removeprefix("deleted ")
            machine.remove(path)
            # Its folder stays.
            machine.files[f"{path}.other"] = ""
        elif event.what == "own fields edited":
            machine.files[FIELDS_FILE] += "podPidsLimit: 7\n"
        elif event.what == "kube-proxy edited":
            cluster = world.kubectl(machine)
            cluster.objects["kube-proxy"] = {**cluster.objects["kube-proxy"], "mode": "ipvs"}
            cluster.objects[KUBE_PROXY_PODS] = cluster.objects["kube-proxy"]
            world.write(cluster)
        elif event.what == "kube-proxy crashes":
            cluster = world.kubectl(machine)
            cluster.objects[KUBE_PROXY_PODS] = {**cluster.objects["kube-proxy"], "mode": "crashes"}
        elif event.what == "kube-proxy runs":
            cluster = world.kubectl(machine)
            cluster.objects[KUBE_PROXY_PODS] = cluster.objects["kube-proxy"]
        elif event.what == "cordoned":
            for cluster in world.own_clusters():
                if event.machine in cluster.nodes:
                    cluster.nodes[event.machine].unschedulable = True
        elif event.what.startswith("fails with containerd "):
            machine.failing.add(event.what.rpartition(" ")[2])
        elif event.what == "mended":
            machine.failing.clear()
        elif event.what.startswith(("upgraded to ", "recorded ")):
            release = event.what.rpartition(" ")[2]
            cluster = world.kubectl(machine)
            if event.what.startswith("upgraded"):
                cluster.objects["kubeadm-config"] |= {"kubernetesVersion": f"v{release}"}
            else:
                record = ClusterRecord(data=cluster.objects["kubeadm-deploys"])
                cluster.objects["kubeadm-deploys"] = dict(record.with_releases({"containerd": release}).data)
            world.write(cluster)
        else:
            raise AssertionError(f"unknown event: {event.what}")

    def _run(self, commands: Sequence[Command]) -> list[Done]:
        deploys = []
        for command in commands:
            folder = self.folder / command.operator
            folder.mkdir(exist_ok=True)
            inventory = folder / "inventory.py"
            inventory.write_text(self._inventory_text())
            self.course.intents[self.runs] = self._intent(command)
            deploys.append(
                Deploy(
                    run=self.runs,
                    arguments=(
                        *_with_backup(command.arguments, folder),
                        str(inventory),
                        str(ROOT / "deploys" / command.deploy),
                    ),
                    folder=folder,
                    operator=command.operator,
                    after=command.after,
                    prompt=command.prompt,
                )
            )
            self.runs += 1
        if all(command.deploy != "reset.py" for command in commands):
            self._take_up()
        before = len(self.world.changes)
        ended = run_deploys(self.course, deploys, change=self.change)
        for deploy, done in zip(deploys, ended, strict=True):
            self.outputs[deploy.run] = done.output
            self.exit_codes[deploy.run] = done.exit_code
        ran = Ran(
            world=self.world,
            outputs={deploy.run: self.outputs[deploy.run] for deploy in deploys},
            changes=self.world.changes[before:],
            inventory=self.inventory,
            whole={
                deploy.run: self.course.locked[deploy.run]
                for deploy, command in zip(deploys, commands, strict=True)
                if command.deploy == "cluster.py"
                and not command.arguments
                and self.exit_codes[deploy.run] == 0
            },
            restored={
                deploy.run: _snapshot_in(deploy.arguments)
                for deploy, command in zip(deploys, commands, strict=True)
                if command.deploy == "restore.py"
                and any("=backup=" in argument for argument in command.arguments)
                and self.exit_codes[deploy.run] == 0
                and "--dry" not in command.arguments
            },
            upgraded=[
                deploy.run
                for deploy, command in zip(deploys, commands, strict=True)
                if command.deploy == "upgrade.py"
                and not any(each.startswith(_LEAVES_NODES_OUT) for each in command.arguments)
                and self.exit_codes[deploy.run] == 0
            ],
        )
        self._check(invariants.AFTER_EACH_RUN, ran)
        self.world.now += 10
        self.world.settle()
        return ended

    def _take_up(self) -> None:
        """Undo the giving up of clusters that still have their data after a reset: the next run uses them."""
        for cluster in self.world.clusters.values():
            cluster.given_up = cluster.given_up and not self.world.has_data(cluster)

    def _check(self, invariants: Sequence[Callable[[T], str]], argument: T) -> None:
        for invariant in invariants:
            if problem := invariant(argument):
                self.world.broken.append(f"{invariant.__name__}: {problem}")
                self.course.log.append(f"{'':8} BROKEN {invariant.__name__}: {problem}")

    def _end(self) -> None:
        self.course.faults = NoFaults()
        self.world.now += _ENOUGH
        for machine in self.world.machines.values():
            if not machine.is_dead and not machine.is_up(self.world.now):
                machine.reboots(now=self.world.now, seconds=0)
        self.world.settle()
        kubeconfig = self.folder / FINAL.operator / "kubernetes.kubeconfig"
        self.obstacles = tuple(
            dict.fromkeys(
                invariants.obstacles(
                    self.world,
                    self.inventory,
                    kubeconfig=kubeconfig.read_text() if kubeconfig.exists() else "",
                )
            )
        )
        if not any(name.startswith("cp-") for name in self.inventory):
            return
        ended, changes = [], []
        for _ in range(2):
            before = len(self.world.changes)
            ended += self._run((FINAL,))
            changes.append(self.world.changes[before:])
        end = End(
            world=self.world,
            inventory=self.inventory,
            exit_codes=(ended[0].exit_code, ended[1].exit_code),
            outputs=(ended[0].output, ended[1].output),
            changes=(changes[0], changes[1]),
            obstacles=self.obstacles,
        )
        self._check(invariants.AT_THE_END, end)

    def _inventory_text(self) -> str:
        def group(control_plane: bool) -> list[tuple[str, dict[str, str]]]:
            return [
                (f"@fake/{name}", {"node_name": name, "node_ip": self.world.machines[name].ip})
                for name in self.inventory
                if name.startswith("cp-") is control_plane
            ]

        return f"control_plane = {group(True)!r}\nworkers = {group(False)!r}\n"

    def _intent(self, command: Command) -> Intent:
        data = dict(
            argument.removeprefix("--data=").partition("=")[::2]
            for argument in command.arguments
            if argument.startswith("--data=")
        )
        limits = [
            argument.removeprefix("--limit=")
            for argument in command.arguments
            if argument.startswith("--limit=")
        ]
        limited = [name for name in self.inventory if any(_matches(name, limit) for limit in limits)]
        named: list[str] = []
        if command.deploy == "remove_node.py":
            named = [data["node"]] if "node" in data else limited
        elif command.deploy == "reset.py" and data.get("confirm") == "kubernetes":
            named = limited if limits else self.inventory
        elif command.deploy == "restore.py" and data.get("confirm") == "kubernetes":
            named = [name for name in self.inventory if name.startswith("cp-")]
        return Intent(
            deploy=command.deploy,
            named=frozenset(named),
            forced=data.get("force") == "true",
            restarts=data.get("restart") == "true",
        )


def _with_backup(arguments: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    """Return a command's arguments with the path of the newest backup instead of BACKUP, or of the OLDEST.

    DAMAGED is a copy of the newest one with a flipped bit.
    """
    backups = sorted(map(str, folder.glob("*.backup"))) or ["BACKUP"]
    paths = {"BACKUP": backups[-1], "OLDEST": backups[0]}
    if any(argument.endswith("=DAMAGED") for argument in arguments):
        content = bytearray(Path(backups[-1]).read_bytes())
        content[len(content) // 2] ^= 1
        damaged = folder / "damaged"
        damaged.write_bytes(content)
        paths["DAMAGED"] = str(damaged)
    return tuple(_with_path(argument, paths) for argument in arguments)


def _with_path(argument: str, paths: Mapping[str, str]) -> str:
    name, equals, value = argument.rpartition("=")
    return f"{name}{equals}{paths.get(value, value)}"


def _snapshot_in(arguments: tuple[str, ...]) -> str:
    """Return the snapshot in the backup that a command restores."""
    (path,) = [each.partition("=backup=")[2] for each in arguments if "=backup=" in each]
    with tarfile.open(path) as archive:
        snapshot = archive.extractfile(SNAPSHOT)
        assert snapshot
        return snapshot.read().decode()


def _matches(name: str, limit: str) -> bool:
    group = "control_plane" if name.startswith("cp-") else "workers"
    return limit in (group, f"@fake/{name}")
