"""Run one or a few concurrent commands on simulated machines, and check their results.

A history says which machines exist, what operators do and which faults happen; a test says how each run must
end.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from tests.simulation.history import Command, Event, Fault, History, Host
from tests.support.fake_answers import ROOT

ENVIRONMENT = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": f"{ROOT / 'deploys'}:{ROOT}"}
"""For a process that plays histories: this checkout, not an installed package, and a fixed order of sets."""

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
        *(
            "delete our files",
            "restart-clients",
            "end-api-server",
            "label-nodes",
            "write record",
            "apply",
            "make token",
        ),
        *("delete secret", "write-pki"),
    }
)
"""Changes that any run may make on a machine of its own cluster; all others decide over nodes or data."""

Hosts = tuple[Host, ...]

FOREIGN = [
    ("foreign worker", "worker-1: is a node of another cluster"),
    ("foreign control plane", "worker-1: is a node of another cluster"),
    ("etcd", "worker-1: has etcd data in /var/lib/etcd"),
]
"""Foreign machines in the group of workers, and the start of the error about each."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A run's exit code and output, and its ``changes`` on machines, like ``cp-1: clean``.

    ``files`` are the files in the operator's folder at the end, by name.
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
    """Plays histories in a process that gevent has patched, started once because that takes two seconds."""

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
        """Play one command with pyinfra's ``arguments``, after some ``events``."""
        (ended,) = self.play(hosts, *events, (Command(deploy=deploy, arguments=arguments),), faults=faults)
        return ended

    def play(
        self,
        hosts: Hosts,
        *steps: tuple[Command, ...] | Event,
        faults: Iterable[Fault] = (),
    ) -> list[Ended]:
        """Play a history, in which all invariants must hold, and return the results of its runs in order.

        Raises:
            AssertionError: an invariant was violated, or a fault did not happen.
        """
        history = History(hosts=hosts, steps=steps, faults=tuple(faults))
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin and stdout
        stdin.write(f"{history!r}\n")
        stdin.flush()
        answer = json.loads(stdout.readline())
        assert "error" not in answer, answer["error"]
        printed = "\n".join((*answer["log"], *(run["output"] for run in answer["runs"])))
        assert not answer["unhappened"], (answer["unhappened"], printed)
        assert not answer["broken"], (answer["broken"], printed)
        return [Ended(**run) for run in answer["runs"]]


def machines(*control_planes: str, workers: Iterable[str] = ()) -> Hosts:
    """Return hosts cp-1, cp-2... and worker-1, worker-2... by their initial states; see ``Host``."""
    return tuple(
        Host(name=f"{group}-{number}", begins=begins)
        for group, states in (("cp", control_planes), ("worker", workers))
        for number, begins in enumerate(states, start=1)
    )


def fails(what: str, *, nth: int = 0, again: bool = True, says: str = "") -> Fault:
    """Return a fault: something fails on the first control plane, from the ``nth`` time on."""
    return Fault(run=0, machine="cp-1", what=what, kind="fails", nth=nth, again=again, says=says)


def refused(done: Ended, *words: str) -> None:
    """Assert that the run printed these words and failed without changing nodes, clusters or data."""
    assert done.decisive == [], done.output
    assert done.exit_code == 1, done.output
    assert "Traceback" not in done.output, done.output
    for word in words:
        assert word in done.output, done.output


def before_operations(done: Ended, *words: str) -> None:
    """Assert the same, and that the run changed nothing at all."""
    refused(done, *words)
    assert done.changes == []
    assert "Beginning operation run" not in done.output, done.output
