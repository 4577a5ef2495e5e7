"""Who runs on a cluster: what a lock file says, what follows from it, and the commands that change it.

The file is on every control plane, below /run, which a reboot empties. Its times are seconds of that machine's
uptime: a clock that is wrong, or is set meanwhile, neither ends a lock nor makes it last. Who has the files of most
control planes has the lock: two runs cannot both.
"""

import getpass
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.connectors.util import CommandOutput

from kubeadm_deploys.election import Election
from kubeadm_deploys.facts import lines
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.framing import first_and_then, framed_lines
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.scripts import script

FOLDER = "/run/kubeadm-deploys"
"""The lock file's folder. It stays, empty, until the machine reboots: a run may be waiting for its turn in it."""

LEASE = 180
"""Seconds after which a lock that is not renewed has expired."""

RENEWAL = 60
"""Seconds between renewals; two may fail before a lock expires."""

MARGIN = 30
"""Seconds before its lease ends from which on a run renews its lock before it does anything else: what it then sends
arrives before another run can have the lock."""

ANSWER = 10
"""Seconds that a control plane has to answer when it is asked for the lock."""

READING = 30
"""Seconds more that it has where it is asked in the same command what it was asked while the run was prepared."""

PATIENCE = 60
"""Seconds for which control planes that do not grant the lock are asked again before a run gives up: a machine that
reboots is there again by then."""

PAUSE = 2
"""Seconds between two questions to the same control plane."""

REFUSED = "kubeadm-deploys: not done here, because another run has the lock of this control plane"
"""How the line begins that a control plane prints instead of doing what a run wants that has lost its lock."""


_FRAME = "RunLock"


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A ``run`` (random) of the entry script ``what`` by ``who`` (user@machine).

    ``process`` is its PID and start time, which mean something where ``controller`` is the same: the boot and the PID
    namespace. Both are empty where the system does not tell.
    """

    run: str
    who: str
    what: str
    controller: str = ""
    process: str = ""


@dataclass(frozen=True, kw_only=True)
class Held:
    """A lock in force: its holder, for how many seconds it has run (``age``), and in how many the lock expires."""

    holder: Holder
    age: int
    remaining: int


@dataclass(frozen=True, kw_only=True)
class Vote:
    """What a control plane answered when it was asked for the lock.

    ``held`` is the lock of another run, ``problem`` says why there is none for this one; without both it is granted.
    ``reached`` is whether the machine answered at all.
    """

    held: Held | None = None
    problem: str = ""
    reached: bool = True

    @property
    def granted(self) -> bool:
        """Whether the lock is this run's there."""
        return self.reached and self.held is None and not self.problem


Votes = Mapping[str, Vote]
"""What control planes answered, by host."""


@dataclass(frozen=True, kw_only=True)
class Voters:
    """The control planes of which a majority grants the lock.

    ``listed`` are nodes of the inventory. ``unlisted`` are names of others, which cannot be asked and count all the same.
    """

    listed: tuple[Node, ...]
    unlisted: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.listed) + len(self.unlisted)

    @property
    def needed(self) -> int:
        """How many are a majority."""
        return self.count // 2 + 1

    def majority(self, votes: Votes) -> bool:
        """Whether most of them have granted the lock."""
        return len(self._granting(votes)) >= self.needed

    def all_that_answer(self, votes: Votes) -> bool:
        """Whether every one that can be reached has granted the lock, if any can."""
        reached = [node for node in self.listed if votes[node.host].reached]
        return len(reached) == len(self._granting(votes))

    def problems(self, votes: Votes) -> list[str]:
        """Why the others have not granted it, one sentence for each."""
        listed = [
            f"{node.name}: {_problem(votes[node.host])}"
            for node in self.listed
            if not votes[node.host].granted
        ]
        return [*listed, *(f"{name}: not in the inventory, so it cannot be asked" for name in self.unlisted)]

    def warnings(self, votes: Votes) -> list[str]:
        """What is wrong with those that can be reached and have not granted it, although a majority has."""
        return [
            f"{node.name} did not grant the run's lock ({_problem(vote)}); the majority did"
            for node in self.listed
            if (vote := votes[node.host]).reached and not vote.granted
        ]

    def _granting(self, votes: Votes) -> list[Node]:
        return [node for node in self.listed if votes[node.host].granted]


def lock_voters(topology: Topology, *, election: Election, members: ClusterMembersState | None) -> Voters:
    """The cluster's control planes, by what was read while the run was prepared.

    Those of the inventory while there is no cluster, or where nobody could say who belongs to it (``members`` is None or
    empty): what was not read is not known to be no member.
    """
    nodes = topology.control_planes
    voting = [member for member in members.etcd if member.joined] if members else []
    registered = [name for name, node in members.nodes.items() if node.control_plane] if members else []
    if not election.exists or not (voting or registered):
        return Voters(listed=nodes)
    names = {member.name for member in voting}.union(registered)
    addresses = {member.peer_ip for member in voting}
    listed = tuple(
        node
        for node in nodes
        if node.name in names
        or node.ip in addresses
        or node in election.healthy
        or node.host == election.leader
    )
    known_names, known_addresses = {node.name for node in nodes}, {node.ip for node in nodes}
    # One that etcd knows by another name than the inventory is the same machine.
    renamed = {member.name for member in voting if member.peer_ip in known_addresses}
    return Voters(listed=listed, unlisted=tuple(sorted(names - known_names - renamed)))


def holder_of(votes: Votes) -> Held | None:
    """The first other run that has the lock of a control plane."""
    return next((vote.held for vote in votes.values() if vote.held), None)


def collect(
    ask: Callable[[Sequence[str]], Votes],
    *,
    votes: Votes,
    again: Sequence[str],
    settled: Callable[[Votes], bool],
    clock: Callable[[], float],
    sleep: Callable[[float], object],
) -> dict[str, Vote]:
    """Ask control planes for the lock again, by host: those of ``again`` that have not granted it in ``votes``.

    That goes on until ``settled`` says that it is enough, or ``PATIENCE`` is over.
    """
    deadline = clock() + PATIENCE
    collected = {host: Vote(problem="cannot be reached", reached=False) for host in again} | dict(votes)
    while not settled(collected) and clock() < deadline:
        sleep(PAUSE)
        collected |= ask([host for host in again if not collected[host].granted])
    return collected


# Only this clock goes on while the machine sleeps; on macOS the monotonic one does.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock() -> float:
    """Seconds on a clock that nobody sets, and that goes on while this machine sleeps."""
    return time.clock_gettime(_CLOCK)


def take_command(holder: Holder, *, dead: str = "", folder: str = FOLDER) -> StringCommand:
    """The command that takes the lock or renews it, unless another run has it; ``dead`` is a run that may lose it."""
    document = "\n".join(
        f"{key} {' '.join(value.split())}"
        for key, value in (
            ("run", holder.run),
            ("who", holder.who),
            ("what", holder.what),
            ("controller", holder.controller),
            ("process", holder.process),
        )
    )
    return script("take-run-lock", folder, str(LEASE), holder.run, dead, document)


def release_command(holder: Holder, *, folder: str = FOLDER) -> StringCommand:
    """The command that gives the lock up, if this run has it."""
    return script("release-run-lock", folder, holder.run)


def asked_with(command: StringCommand, questions: StringCommand | None = None) -> StringCommand:
    """``take_command`` as it is sent: with questions that are only put to a control plane which grants the lock."""
    return first_and_then(_FRAME, command, succeeds_with="taken", then=questions)


def read_vote(output: CommandOutput) -> Vote:
    """What a control plane answered to ``asked_with``."""
    answer = framed_lines(_FRAME, output.stdout_lines)
    return parse_vote(output.output_lines if answer is None else answer)


def parse_vote(output: Sequence[str]) -> Vote:
    """What the output of ``take_command`` says."""
    values = lines.parse(output)
    if "taken" in values:
        return Vote()
    if "held" not in values:
        problem = " ".join(line for line in output if line != "asked")
        return Vote(problem=problem or "no answer", reached="asked" in values)
    up = int(values["up"])
    held = Held(
        holder=Holder(
            run=values["run"],
            who=values.get("who", "an unknown user"),
            what=values.get("what", "a deploy"),
            controller=values.get("controller", ""),
            process=values.get("process", ""),
        ),
        age=up - int(values.get("start", up)),
        remaining=int(values["until"]) - up,
    )
    return Vote(held=held)


def fenced(command: str | StringCommand, holder: Holder, *, folder: str = FOLDER) -> StringCommand:
    """The same command for a control plane that has granted the lock, which does nothing once another run has it there.

    Without a lock file it is done: the machine has rebooted, and the next renewal writes the file again.
    """
    lock, mine = QuoteString(f"{folder}/lock"), QuoteString(f"run {holder.run}")
    # Before a newline, so that pyinfra may put its own "cd ... &&" in front; a "cd" that fails ends it too.
    return StringCommand(
        *("{ if [ -e ", lock, " ] && ! grep -qxF ", mine, " ", lock, "; then echo ", QuoteString(REFUSED)),
        *(""" "($(sed -n 's/^who //p' """, lock, """))" >&2; exit 75; fi; } || exit\n""", command),
        _separator="",
    )


def refusal_in(output: Sequence[str]) -> str:
    """What a ``fenced`` command printed instead of what it was to do, empty when it was done."""
    return next((line.removeprefix("kubeadm-deploys: ") for line in output if line.startswith(REFUSED)), "")


def this_process(*, what: str) -> Holder:
    """The holder that this process is."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return Holder(
        run=secrets.token_hex(8),
        who=f"{user}@{socket.gethostname()}",
        what=what,
        controller=_controller(),
        process=f"{os.getpid()} {process_start(os.getpid()) or ''}".strip(),
    )


def _controller() -> str:
    """Where a PID means something. A machine ID alone would be the same in all containers of an image."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def process_start(pid: int) -> str | None:
    """When a process of this machine started, in the kernel's ticks; empty when that is hidden, None without one.

    Source: proc_pid_stat(5), fields 3 and 22.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        # It is there, and another user's.
        pass
    try:
        # The second field is the program's name in parentheses, which may itself hold blanks and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return None if fields[0] in "ZX" else fields[19]


def has_died(
    holder: Holder, *, controller: str, started: Callable[[int], str | None] = process_start
) -> bool:
    """Whether a run is known to be dead: it was one of this controller, and its process is gone."""
    pid, _, start = holder.process.partition(" ")
    if not holder.controller or holder.controller != controller or not pid.isdecimal() or int(pid) < 1:
        return False
    now = started(int(pid))
    return now is None or bool(now and start and now != start)


def _problem(vote: Vote) -> str:
    return f"{vote.held.holder.who} has its lock" if vote.held else vote.problem
