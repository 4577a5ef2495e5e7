"""The run lock: the content of its file, what follows from it, and the commands that change it.

The file is on every control plane, below /run, which a reboot empties. Its times are seconds of that
machine's uptime, so a wrong or changed clock neither ends nor prolongs a lock. The run that has the files of
a majority of the control planes has the lock, so no two runs can have it.
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

from kubeadm_deploys.cluster.api_leader import ApiLeader
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.remote import lines
from kubeadm_deploys.remote.framing import first_and_then, framed_lines
from kubeadm_deploys.scripts import script

FOLDER = "/run/kubeadm-deploys"
"""The lock file's folder. It is not removed with the lock, because another run may be waiting in it."""

LEASE = 180
"""Seconds after which a lock expires if it is not renewed."""

RENEWAL = 60
"""Seconds between renewals; two may fail before a lock expires."""

MARGIN = 30
"""Seconds before expiry from which on a run renews its lock before any other command.

So its commands arrive before another run can take the lock."""

ANSWER = 10
"""Seconds that a control plane has to answer a request for the lock."""

READING = 30
"""Seconds that it has in addition if the same command repeats the readings of the prepare phase."""

PATIENCE = 60
"""Seconds for which a run asks control planes again that do not grant the lock: long enough for a reboot."""

PAUSE = 2
"""Seconds between two requests to the same control plane."""

REFUSED = "kubeadm-deploys: not done here, because another run has the lock of this control plane"
"""Start of the line that a control plane prints when it refuses a command of a run that lost its lock."""


_FRAME = "RunLock"


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A ``run`` (random) of the entry script ``what`` by ``who`` (user@machine).

    ``process`` is its PID and start time, which are only comparable within the same ``controller``: a boot
    and PID namespace. Both are empty if the system does not provide them.
    """

    run: str
    who: str
    what: str
    controller: str = ""
    process: str = ""


@dataclass(frozen=True, kw_only=True)
class Held:
    """A valid lock: its holder, the ``age`` of the holder's run, and when it expires, both in seconds."""

    holder: Holder
    age: int
    remaining: int


@dataclass(frozen=True, kw_only=True)
class Vote:
    """The answer of a control plane to a request for the lock.

    ``held`` is the lock of another run, ``problem`` says why the lock was not granted; without either it is
    granted. ``reached`` is whether the machine answered at all.
    """

    held: Held | None = None
    problem: str = ""
    reached: bool = True

    @property
    def granted(self) -> bool:
        """Whether this run has the lock of the control plane."""
        return self.reached and self.held is None and not self.problem


Votes = Mapping[str, Vote]
"""The answers of control planes, by host."""


@dataclass(frozen=True, kw_only=True)
class Voters:
    """The control planes, of which a majority must grant the lock.

    ``listed`` are those in the inventory. ``unlisted`` are the names of the others, which cannot be asked but
    count too.
    """

    listed: tuple[Node, ...]
    unlisted: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """The number of control planes."""
        return len(self.listed) + len(self.unlisted)

    @property
    def needed(self) -> int:
        """The number of control planes that is a majority."""
        return self.count // 2 + 1

    def majority(self, votes: Votes) -> bool:
        """Return whether a majority has granted the lock."""
        return len(self._granting(votes)) >= self.needed

    def all_that_answer(self, votes: Votes) -> bool:
        """Return whether every control plane that can be reached has granted the lock; true if none can."""
        reached = [node for node in self.listed if votes[node.host].reached]
        return len(reached) == len(self._granting(votes))

    def problems(self, votes: Votes) -> list[str]:
        """Return why the others have not granted the lock, one sentence for each."""
        listed = [
            f"{node.name}: {_problem(votes[node.host])}"
            for node in self.listed
            if not votes[node.host].granted
        ]
        return [*listed, *(f"{name}: not in the inventory, so it cannot be asked" for name in self.unlisted)]

    def warnings(self, votes: Votes) -> list[str]:
        """Return a warning for each that answers but has not granted the lock, although the majority has."""
        return [
            f"{node.name} did not grant the run lock ({_problem(vote)}); the majority did"
            for node in self.listed
            if (vote := votes[node.host]).reached and not vote.granted
        ]

    def _granting(self, votes: Votes) -> list[Node]:
        return [node for node in self.listed if votes[node.host].granted]


def lock_voters(topology: Topology, *, api_leader: ApiLeader, members: ClusterMembersState | None) -> Voters:
    """Return the cluster's control planes, from what was read in the prepare phase.

    They are those of the inventory if there is no cluster, or if its members could not be read (``members``
    is None or empty): any machine may then be a member.
    """
    nodes = topology.control_planes
    voting = [member for member in members.etcd if member.joined] if members else []
    registered = [name for name, node in members.nodes.items() if node.control_plane] if members else []
    if not api_leader.exists or not (voting or registered):
        return Voters(listed=nodes)
    names = {member.name for member in voting}.union(registered)
    addresses = {member.peer_ip for member in voting}
    listed = tuple(
        node
        for node in nodes
        if node.name in names
        or node.ip in addresses
        or node in api_leader.healthy
        or node.host == api_leader.leader
    )
    known_names, known_addresses = {node.name for node in nodes}, {node.ip for node in nodes}
    # A member with a known address is a listed machine, even if etcd knows it by another name.
    renamed = {member.name for member in voting if member.peer_ip in known_addresses}
    return Voters(listed=listed, unlisted=tuple(sorted(names - known_names - renamed)))


def holder_of(votes: Votes) -> Held | None:
    """Return the first lock that another run holds on a control plane, or None."""
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
    """Return the votes by host, after asking the hosts in ``again`` repeatedly until they grant the lock.

    Stop as soon as ``settled`` accepts the votes, or after ``PATIENCE`` seconds.
    """
    deadline = clock() + PATIENCE
    collected = {host: Vote(problem="cannot be reached", reached=False) for host in again} | dict(votes)
    while not settled(collected) and clock() < deadline:
        sleep(PAUSE)
        collected |= ask([host for host in again if not collected[host].granted])
    return collected


# On Linux only this clock keeps running while the machine sleeps; on macOS the monotonic one does.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock() -> float:
    """Return seconds on a clock that is never set and keeps running while this machine sleeps."""
    return time.clock_gettime(_CLOCK)


def take_command(holder: Holder, *, dead: str = "", folder: str = FOLDER) -> StringCommand:
    """Return the command that takes or renews the lock, unless a run other than ``dead`` has it."""
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
    """Return the command that releases the lock if this run has it."""
    return script("release-run-lock", folder, holder.run)


def asked_with(command: StringCommand, questions: StringCommand | None = None) -> StringCommand:
    """Add questions to ``take_command`` that only run if the control plane grants the lock."""
    return first_and_then(_FRAME, command, succeeds_with="taken", then=questions)


def read_vote(output: CommandOutput) -> Vote:
    """Return the vote in the output of ``asked_with``; an incomplete answer grants nothing."""
    answer = framed_lines(_FRAME, output.stdout_lines)
    if answer is not None:
        return parse_vote(answer)
    if "asked" in output.output_lines:
        return Vote(problem="its answer is incomplete")
    return Vote(problem=" ".join(output.output_lines) or "no answer", reached=False)


def parse_vote(output: Sequence[str]) -> Vote:
    """Return the vote in the output of ``take_command``."""
    values = lines.parse(output)
    if "taken" in values:
        return Vote()
    if "held" not in values:
        problem = " ".join(line for line in output if line != "asked")
        return Vote(problem=problem or "no answer", reached="asked" in values)
    try:
        up, until = int(values["up"]), int(values["until"])
        start = int(values.get("start", up))
        holder = Holder(
            run=values["run"],
            who=values.get("who", "an unknown user"),
            what=values.get("what", "a deploy"),
            controller=values.get("controller", ""),
            process=values.get("process", ""),
        )
    except (KeyError, ValueError) as error:
        return Vote(problem=f"its lock file cannot be parsed ({type(error).__name__}: {error})")
    return Vote(held=Held(holder=holder, age=up - start, remaining=until - up))


def fenced(command: str | StringCommand, holder: Holder, *, folder: str = FOLDER) -> StringCommand:
    """Wrap a command for a control plane with the lock: it does nothing once another run has that lock.

    Without a lock file it runs: the machine has rebooted, and the next renewal writes the file again.
    """
    lock, mine = QuoteString(f"{folder}/lock"), QuoteString(f"run {holder.run}")
    # pyinfra may prepend "cd ... &&": because of "|| exit" and the newline, a "cd" that fails ends the
    # script.
    return StringCommand(
        *("{ if [ -e ", lock, " ] && ! grep -qxF ", mine, " ", lock, "; then echo ", QuoteString(REFUSED)),
        *(""" "($(sed -n 's/^who //p' """, lock, """))" >&2; exit 75; fi; } || exit\n""", command),
        _separator="",
    )


def refusal_in(output: Sequence[str]) -> str:
    """Return the refusal that a ``fenced`` command printed, empty if the command was run."""
    return next((line.removeprefix("kubeadm-deploys: ") for line in output if line.startswith(REFUSED)), "")


def this_process(*, what: str) -> Holder:
    """Return this process as a holder."""
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
    """Return the scope in which PIDs are unique: a machine ID is the same in all containers of an image."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def process_start(pid: int) -> str | None:
    """Return a local process's start time in clock ticks; empty if hidden, None if it does not exist.

    Source: proc_pid_stat(5), fields 3 and 22.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        # It exists and belongs to another user.
        pass
    try:
        # The second field is the program's name in parentheses, which may itself contain blanks and
        # parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return None if fields[0] in "ZX" else fields[19]


def has_died(
    holder: Holder, *, controller: str, started: Callable[[int], str | None] = process_start
) -> bool:
    """Return whether a run is known to be dead: it ran on this controller, and its process is gone."""
    pid, _, start = holder.process.partition(" ")
    if not holder.controller or holder.controller != controller or not pid.isdecimal() or int(pid) < 1:
        return False
    now = started(int(pid))
    return now is None or bool(now and start and now != start)


def _problem(vote: Vote) -> str:
    return f"{vote.held.holder.who} has its lock" if vote.held else vote.problem
