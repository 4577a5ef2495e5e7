"""A history as a literal that can be pasted into a test: machines, operators' commands, events and faults."""

from dataclasses import dataclass, fields
from typing import Any

FOR_GOOD = ("fails on", "away on")
"""Faults that last until the run ends: every command on the machine fails, or it cannot be reached."""

FAILS_ONE = "fails one"
"""One of several readings in one command fails."""

READING_FAULTS = (
    "fails",
    FAILS_ONE,
    "lost",
    "late",
    "cut",
    "reboot",
    "death",
    "killed",
    "suspend",
    *FOR_GOOD,
)
"""Faults of a reading.

It fails, the connection is lost or times out, the answer is truncated, the machine reboots or dies, the
operator's process is killed, or the operator's machine is suspended.
"""

STALE = "stale"
"""A reading returns an old answer, as a real one may: etcd's list of members from a single member."""

CHANGE_FAULTS = (
    "fails",
    "lost before",
    "lost after",
    "late before",
    "late after",
    "cut",
    "cut and lost",
    "reboot",
    "death",
    "killed before",
    "killed after",
    "suspend",
    *FOR_GOOD,
)
"""Faults of a change.

It fails without any effect, the connection is lost or times out before or after it, it stops in the middle,
the machine reboots or dies in the middle, the operator's process is killed before or after it, or the
operator's machine is suspended.
"""


class Literal:
    """A dataclass whose repr leaves out default values."""

    def __repr__(self) -> str:
        arguments = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields(self)  # type: ignore[arg-type]
            if getattr(self, field.name) != field.default
        ]
        return f"{type(self).__name__}({', '.join(arguments)})"


@dataclass(frozen=True, kw_only=True, repr=False)
class Host(Literal):
    """A machine of the inventory, and its state when the history begins.

    ``begins`` is "bare", "prepared" (packages are installed), "member", "half N" (kubeadm stopped after N
    steps), "etcd" (an etcd that is unrelated to Kubernetes), "docker" (foreign containers), "foreign worker"
    or "foreign control plane" (each of a separate cluster), or "member of NAME" (a foreign cluster of that
    name, shared by all such hosts).

    A "member, ..." has a peculiarity: "kubeconfig made anew" (kubelet.conf does not use the certificate that
    the kubelet renews), "moved" (etcd has it at another address), "lacks NAME" (a manifest is missing),
    "renamed NAME" (only kubeadm's backup has that manifest) or "at X.Y.Z" (it has that release of Kubernetes, and
    an older containerd). ``greeting`` are lines that the login shell
    prints first.
    """

    name: str
    begins: str = "prepared"
    greeting: str = ""

    @property
    def control_plane(self) -> bool:
        """Whether the inventory has it as a control plane."""
        return self.name.startswith("cp-")

    @property
    def is_member(self) -> bool:
        """Whether it is a node of the operator's cluster when the history begins."""
        return self.begins.partition(",")[0] == "member"


@dataclass(frozen=True, kw_only=True, repr=False)
class Command(Literal):
    """An operator's command: a deploy with its arguments; a concurrent one starts ``after`` seconds.

    ``prompt`` is the number of seconds for which the operator looks at the plan before the run continues.
    """

    deploy: str
    arguments: tuple[str, ...] = ()
    operator: str = "alice"
    after: float = 0
    prompt: float = 0


@dataclass(frozen=True, kw_only=True, repr=False)
class Event(Literal):
    """An event between commands.

    A machine "reboots", "stops" until the history's end, "dies", is "replaced" by a new one, which is prepared or "bare", or is
    "forgotten": removed from the inventory if it has left the cluster. Or its Node object is deleted ("node
    deleted") or "cordoned", its cluster is "upgraded to X.Y.Z" of Kubernetes, or its cluster's record gets another release
    of containerd ("recorded X.Y.Z"). A release of containerd does not start on it ("fails with containerd X.Y.Z"), or
    all do again ("mended"). A user's write to its cluster is acknowledged ("written"). Somebody sets another mode in
    kube-proxy's ConfigMap ("kube-proxy edited"), or adds a field to those that a kubelet has of its own ("own fields
    edited"), or deletes a file ("deleted /PATH"). kube-proxy's pods end for another reason ("kube-proxy crashes") and run again ("kube-proxy runs").
    The power was cut before the first etcd had written an entry ("log emptied").
    A machine is switched off and "left out" of the inventory, and later it is "put back" with its old data.

    With ``after`` it happens that many seconds after the next commands have begun.
    """

    what: str
    machine: str
    after: float = 0


Step = tuple[Command, ...] | Event
"""Concurrent commands, or an event."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Fault(Literal):
    """A fault at the ``nth`` time that a run (by its number in the history) does something on a machine.

    ``what`` is a change, a reading (alone or among several), or all readings of one command. ``at`` is the
    number of steps after which a change stops, ``says`` the error that a failing command prints instead of
    "Cannot fork". With ``again`` the fault repeats every time from then on.
    """

    run: int
    machine: str
    what: str
    kind: str
    nth: int = 0
    at: int = 0
    says: str = ""
    again: bool = False


@dataclass(frozen=True, kw_only=True, repr=False)
class History(Literal):
    """A whole history."""

    hosts: tuple[Host, ...]
    steps: tuple[Step, ...] = ()
    faults: tuple[Fault, ...] = ()

    def as_text(self) -> str:
        """Return the literal with one host, step or fault per line."""

        def lines(name: str, values: tuple[Any, ...]) -> str:
            return (
                f"    {name}=(\n" + "".join(f"        {value!r},\n" for value in values) + "    ),\n"
                if values
                else ""
            )

        return (
            "History(\n"
            + lines("hosts", self.hosts)
            + lines("steps", self.steps)
            + lines("faults", self.faults)
            + ")"
        )

    @classmethod
    def of_text(cls, text: str) -> "History":
        """Return the history of a literal."""
        history = eval(text, {kind.__name__: kind for kind in (History, Host, Command, Event, Fault)})
        assert isinstance(history, History), history
        return history
