"""Frame the answers of pyinfra's ``@fake`` hosts with the marks of ``remote.framing``, as machines do."""

import re
from collections.abc import Iterable
from pathlib import Path

from pyinfra.connectors.fake import FakeConnector
from pyinfra.connectors.util import CommandOutput, OutputLine

ROOT = Path(__file__).parents[2]

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "COLUMNS": "200", "PYTHONPATH": f"{ROOT / 'deploys'}:{ROOT}"}
"""Have pyinfra run this checkout, not an installed package, and find this module from an inventory."""

FRAMED = "from tests.support.fake_answers import frame_answers\nframe_answers()\n"
"""For an inventory: frame its ``fake_responses``; their keys are facts' names as in ``<<< Machine``."""

_REFUSED = re.compile(r"echo '(.*)' >&2; exit 1$", re.DOTALL)
"""The command of ``operations.failure.failed``, which succeeds on a fake host."""

_QUESTION = re.compile(r"<<< (\w+)'")


def facts_asked(command: str) -> list[str]:
    """Return the names in the marks of the facts that a command reads, in order."""
    return list(dict.fromkeys(_QUESTION.findall(command)))


def framed(fact: str, lines: Iterable[str]) -> list[str]:
    """Return what a machine prints when a fact is read there."""
    return ["", f"<<< {fact}", *lines, "", f">>> {fact}"]


def frame_answers() -> None:
    """Have this process's fake hosts frame their answers to facts, and fail where an operation failed."""
    look_up = FakeConnector._lookup_response

    def answer(self: FakeConnector, command_str: str) -> tuple[bool, CommandOutput]:
        if refused := _REFUSED.match(command_str):
            return False, CommandOutput([OutputLine("stderr", refused[1])])
        facts = facts_asked(command_str)
        if not facts:
            return look_up(self, command_str)
        alone = len(facts) == 1
        lines: list[OutputLine] = []
        for fact in facts:
            succeeded, output = look_up(self, command_str if alone else f"echo '<<< {fact.split('_')[0]}'")
            stdout = framed(fact, output.stdout_lines)
            lines += [OutputLine("stdout", line) for line in (stdout if alone or succeeded else stdout[:-2])]
            stderr = output.stderr_lines or ([] if succeeded else ["the command failed"])
            lines += [OutputLine("stderr", line if alone else f"{fact}: {line}") for line in stderr]
        return succeeded or not alone, CommandOutput(lines)

    FakeConnector._lookup_response = answer  # type: ignore[method-assign]
