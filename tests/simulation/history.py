"""A history, as a literal that can be pasted into a test: machines, what operators do, and what goes wrong."""

from dataclasses import dataclass, fields
from typing import Any

FOR_GOOD = ("fails on", "away on")
"""What lasts until the run ends: everything fails on the machine, or it cannot be reached from where the operator is."""

FAILS_ONE = "fails one"
"""One of the things fails that are read in one command."""

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
"""What may befall a reading: it fails, the connection is lost or gives no answer in time, the answer is cut off, the machine
reboots or dies, the operator's process is killed or machine suspended."""

STALE = "stale"
"""A reading answers what it has answered before, where a real one may: etcd's list of members, asked of one alone."""

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
"""What may befall a change: it fails before it has done anything, the connection or the time is over before or after it
was done, it stops in the middle, the machine reboots or dies in the middle, the operator's process is killed before or
after it was done, or machine suspended."""


class Literal:
    """A dataclass whose repr leaves out what is as usual."""

    def __repr__(self) -> str:
        given = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields(self)  # type: ignore[arg-type]
            if getattr(self, field.name) != field.default
        ]
        return f"{type(self).__name__}({', '.join(given)})"


@dataclass(frozen=True, kw_only=True, repr=False)
class Host(Literal):
    """A machine of the inventory, and what it is when the history begins.

    ``begins`` is "bare", "prepared" (packages are there), "member", "half N" (kubeadm ended after N of its steps), "etcd"
    (one that has nothing to do with Kubernetes), "docker" (somebody's containers), "foreign worker" or "foreign control
    plane" (each of a cluster of its own), or "member of NAME" (of another cluster of that name, one for all of them).

    A "member, ..." is one with something strange: "kubeconfig made anew" (kubelet.conf does not name the certificate that
    the kubelet renews), "moved" (etcd has it at another address), "lacks NAME" (a manifest of its is gone) or "renamed
    NAME" (only kubeadm's backup has it). ``greeting`` are lines that its login shell prints before all else.
    """

    name: str
    begins: str = "prepared"
    greeting: str = ""

    @property
    def control_plane(self) -> bool:
        """Which part it has in the inventory."""
        return self.name.startswith("cp-")

    @property
    def is_member(self) -> bool:
        """Whether it is a node of our cluster when the history begins."""
        return self.begins.partition(",")[0] == "member"


@dataclass(frozen=True, kw_only=True, repr=False)
class Command(Literal):
    """What an operator does: a deploy with its arguments, ``after`` so many seconds when another one runs beside it.

    ``prompt`` are the seconds for which the operator looks at the plan before the run goes on.
    """

    deploy: str
    arguments: tuple[str, ...] = ()
    operator: str = "alice"
    after: float = 0
    prompt: float = 0


@dataclass(frozen=True, kw_only=True, repr=False)
class Event(Literal):
    """What happens between commands: a machine "reboots", "stops" until somebody starts it at the history's end, "dies", is
    "replaced" by a new one or, when it has left, out of the inventory ("forgotten"), or somebody deletes its Node object ("node
    deleted"), brings its cluster to another release of Kubernetes ("upgraded to X.Y.Z") or has another one of containerd
    recorded for it ("recorded X.Y.Z").

    With ``after`` it happens so many seconds after the commands have begun that come next.
    """

    what: str
    machine: str
    after: float = 0


Step = tuple[Command, ...] | Event
"""Commands that run beside each other, or an event."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Fault(Literal):
    """What goes wrong when a run (by its number in the history) does something on a machine for the ``nth`` time.

    ``what`` is a change, a reading (alone or among several), or all that is read at once. ``at`` is the number of steps after
    which a change stops, and ``says`` what is printed by what fails, which is else that the shell cannot fork. What goes
    wrong ``again`` does so every time from then on.
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
    """All of it."""

    hosts: tuple[Host, ...]
    steps: tuple[Step, ...] = ()
    faults: tuple[Fault, ...] = ()

    def as_text(self) -> str:
        """The literal, one host, step and fault a line."""

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
        """The history of a literal."""
        found = eval(text, {each.__name__: each for each in (History, Host, Command, Event, Fault)})
        assert isinstance(found, History), found
        return found
