"""Commands on pretend machines, one at a time or a few beside each other, and what is expected of them.

A history says which machines there are, what operators do and what goes wrong; a test says how each run has to end.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from tests.fake_answers import ROOT
from tests.simulation.history import Command, Event, Fault, History, Host

ENVIRONMENT = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": f"{ROOT / 'deploys'}:{ROOT}"}
"""For a process that plays histories: this checkout, whichever is installed, and sets in the same order every time."""

PREPARATION = frozenset(
    {
        *(
            "write-files",
            "install-packages",
            "install-tarball",
            "install-file",
            "pull-images",
            "hold packages",
        ),
        *("load modules", "load sysctls", "run-unit", "reload unit", "disable unit", "disable our unit"),
        *("delete our files", "restart-clients", "mark-nodes", "write record", "apply", "make token"),
        *("delete secret", "write-pki"),
    }
)
"""Changes that any run may make on a machine of its own cluster; every other one decides over nodes or data."""

Hosts = tuple[Host, ...]

FOREIGN = [
    ("foreign worker", "worker-1: is a node of another cluster"),
    ("foreign control plane", "worker-1: is a node of another cluster"),
    ("etcd", "worker-1: has etcd data in /var/lib/etcd"),
]
"""What a machine may be whose address stands wrongly in the group of workers, and what is said of it."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run ended, what it printed, and what it changed on the machines, like ``cp-1: clean``; ``files`` are those in
    the operator's folder at the end, by name.
    """

    exit_code: int
    output: str
    changes: list[str]
    files: dict[str, str]

    @property
    def decisive(self) -> list[str]:
        """The changes that decide over nodes, clusters or data."""
        return [change for change in self.changes if change.partition(": ")[2] not in PREPARATION]


class Player:
    """Plays histories in a process that gevent has patched, and that is started once: it takes two seconds."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.simulation.player"],
            cwd=ROOT,
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(
        self,
        hosts: Hosts,
        deploy: str,
        *arguments: str,
        events: Iterable[Event] = (),
        faults: Iterable[Fault] = (),
    ) -> Ended:
        """Play one command, before which some ``events`` have happened; its ``arguments`` are pyinfra's."""
        (ended,) = self.play(hosts, *events, (Command(deploy=deploy, arguments=arguments),), faults=faults)
        return ended

    def play(
        self,
        hosts: Hosts,
        *steps: tuple[Command, ...] | Event,
        faults: Iterable[Fault] = (),
    ) -> list[Ended]:
        """Play a history, in which no invariant may be broken; how its runs ended, in their order.

        Raises:
            AssertionError: also where the history is not what it seems, as when a fault has not happened.
        """
        history = History(hosts=hosts, steps=steps, faults=tuple(faults))
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin and stdout
        stdin.write(f"{history!r}\n")
        stdin.flush()
        answer = json.loads(stdout.readline())
        assert "error" not in answer, answer["error"]
        said = "\n".join((*answer["log"], *(run["output"] for run in answer["runs"])))
        assert not answer["unhappened"], (answer["unhappened"], said)
        assert not answer["broken"], (answer["broken"], said)
        return [Ended(**run) for run in answer["runs"]]


def machines(*control_planes: str, workers: Iterable[str] = ()) -> Hosts:
    """Hosts cp-1, cp-2... and worker-1, worker-2..., by what each is at the beginning; see ``Host``."""
    return tuple(
        Host(name=f"{group}-{number}", begins=begins)
        for group, all_begin in (("cp", control_planes), ("worker", workers))
        for number, begins in enumerate(all_begin, start=1)
    )


def fails(what: str, *, nth: int = 0, again: bool = True, says: str = "") -> Fault:
    """Something fails on the first control plane, from the ``nth`` time on."""
    return Fault(run=0, machine="cp-1", what=what, kind="fails", nth=nth, again=again, says=says)


def refused(done: Ended, *words: str) -> None:
    """The run ended with an error that has these words, and changed nothing about nodes, clusters and data."""
    assert done.decisive == [], done.output
    assert done.exit_code == 1, done.output
    assert "Traceback" not in done.output, done.output
    for each in words:
        assert each in done.output, done.output


def before_operations(done: Ended, *words: str) -> None:
    """The same, and nothing at all was changed."""
    refused(done, *words)
    assert done.changes == []
    assert "Beginning operation run" not in done.output, done.output
