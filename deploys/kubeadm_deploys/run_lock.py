"""Who runs on a cluster: what a lock file says, what follows from it, and the commands that change it.

The file is on every control plane, below /run, which a reboot empties. Its times are seconds of that machine's
uptime: a clock that is wrong, or is set meanwhile, neither ends a lock nor makes it last.
"""

import getpass
import os
import secrets
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pyinfra.api.command import QuoteString, StringCommand

from kubeadm_deploys.facts import lines

FOLDER = "/run/kubeadm-deploys"
"""The lock file's folder. It stays, empty, until the machine reboots: a run may be waiting for its turn in it."""

LEASE = 180
"""Seconds after which a lock that is not renewed has expired."""

RENEWAL = 60
"""Seconds between renewals; two may fail before a lock expires."""

# One run at a time is in here, by flock on the folder. A lock that lasts longer than a lease was written before the
# machine's uptime began anew, and one whose end is no number is none: the shell's complaint about that is not shown.
_TAKE = r"""
set -eu
folder=$1 lease=$2 mine=$3 dead=$4 document=$5
value() { if [ -e "$folder/lock" ]; then sed -n "s/^$1 //p" "$folder/lock"; fi; }
mkdir -p "$folder"
exec 9< "$folder"
flock --wait 5 9 || { echo "another process keeps $folder locked" >&2; exit 1; }
up=$(cut -d . -f 1 /proc/uptime)
start=$up
case $(value run) in
  "$mine") start=$(value start) ;;
  ''|"$dead") ;;
  *)
    until=$(value until)
    if [ "$until" -gt "$up" ] && [ "$until" -le "$((up + lease))" ]; then
      echo held
      echo "up $up"
      cat "$folder/lock"
      exit 0
    fi 2> /dev/null
    ;;
esac
printf '%s\nstart %s\nuntil %s\n' "$document" "$start" "$((up + lease))" > "$folder/lock.new"
mv "$folder/lock.new" "$folder/lock"
echo taken
"""

_RELEASE = r"""
set -eu
folder=$1 mine=$2
[ -e "$folder/lock" ] || exit 0
exec 9< "$folder"
flock --wait 5 9
if grep --quiet --line-regexp --fixed-strings "run $mine" "$folder/lock"; then rm "$folder/lock"; fi
"""


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
    arguments = (folder, str(LEASE), holder.run, dead, document)
    return StringCommand("sh", "-c", QuoteString(_TAKE), "take-run-lock", *map(QuoteString, arguments))


def release_command(holder: Holder, *, folder: str = FOLDER) -> StringCommand:
    """The command that gives the lock up, if this run has it."""
    return StringCommand(
        "sh", "-c", QuoteString(_RELEASE), "release-run-lock", QuoteString(folder), QuoteString(holder.run)
    )


def read_answer(output: Iterable[str]) -> Held | None:
    """What ``take_command`` printed: None when the lock was taken, else who has it.

    Raises:
        ValueError: it is neither.
    """
    said = list(output)
    values = lines.parse(said)
    if "taken" in values:
        return None
    if "held" not in values:
        raise ValueError(" ".join(said) or "no answer")
    up = int(values["up"])
    return Held(
        holder=Holder(
            run=values["run"],
            who=values.get("who", "somebody"),
            what=values.get("what", "a deploy"),
            controller=values.get("controller", ""),
            process=values.get("process", ""),
        ),
        age=up - int(values.get("start", up)),
        remaining=int(values["until"]) - up,
    )


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


def refusal(held: Held, *, now: datetime) -> str:
    """Why a run must not begin. ``now`` is the operator's local time."""
    return (
        f"{_runs(held, now=now)}; nothing was changed; wait for its end, or, if that run is dead, until "
        f"{now + timedelta(seconds=held.remaining):%H:%M:%S} (in {held.remaining} s), when its lock expires"
    )


def loss(held: Held, *, now: datetime) -> str:
    """Why a run must stop that could not renew its lock in time, as after a suspend of the operator's machine."""
    return (
        f"{_runs(held, now=now)}, because this run did not renew its lock for {LEASE} s; it stops here; run it again "
        "when the other has ended"
    )


def _runs(held: Held, *, now: datetime) -> str:
    since = now - timedelta(seconds=held.age)
    return (
        f"{held.holder.who} runs {held.holder.what} on this cluster since {since:%Y-%m-%d %H:%M:%S} "
        f"({_duration(held.age)})"
    )


def _duration(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
