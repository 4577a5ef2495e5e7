"""pyinfra's real command line on the pretend machines of a scenario."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.fake_answers import ENVIRONMENT, ROOT
from tests.pretend.changes import PREPARATION

_INVENTORY = """\
from tests.pretend import scenarios
from tests.pretend.world import install

control_plane, workers = install(scenarios.{scenario}({arguments}))
"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """How a run ended, what it printed, and what it changed on the machines, like ``cp-1: clean``."""

    exit_code: int
    output: str
    changes: list[str]

    @property
    def decisive(self) -> list[str]:
        """The changes that decide over nodes, clusters or data."""
        return [change for change in self.changes if change.partition(": ")[2] not in PREPARATION]


def run(folder: Path, deploy: str, scenario: str, *arguments: str, **scenario_arguments: str) -> Run:
    """Run a deploy in a folder, on machines of ``scenarios``; ``arguments`` are pyinfra's."""
    given = ", ".join(f"{key}={value!r}" for key, value in scenario_arguments.items())
    inventory = folder / "inventory.py"
    inventory.write_text(_INVENTORY.format(scenario=scenario, arguments=given))
    record = folder / "changes"
    record.write_text("")
    done = subprocess.run(
        [Path(sys.executable).with_name("pyinfra"), "-y", *arguments, inventory, ROOT / "deploys" / deploy],
        cwd=folder,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return Run(exit_code=done.returncode, output=done.stdout, changes=record.read_text().splitlines())


def refused(done: Run, *words: str) -> None:
    """The run ended with an error that has these words, and changed nothing about nodes, clusters and data."""
    assert done.decisive == [], done.output
    assert done.exit_code == 1, done.output
    assert "Traceback" not in done.output, done.output
    for each in words:
        assert each in done.output, done.output


def before_operations(done: Run, *words: str) -> None:
    """The same, and nothing at all was changed."""
    refused(done, *words)
    assert done.changes == []
    assert "Beginning operation run" not in done.output, done.output
