"""The commands of docs/disaster.md, so that tests run what the page says."""

import itertools
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/disaster.md"
INVENTORY = "inventories/machines.py"

WORKER = "A worker is lost"
CONTROL_PLANE = "A control plane is lost, and a majority is left"
MAJORITY = "A majority of the control planes is lost"
NO_BACKUP = "A majority is lost, and there is no backup"
ALL_CONTROL_PLANES = "All control planes are lost"
EVERYTHING = "Everything is lost"
WRONG_DATA = "Wrong data was written"
NO_SPACE = "etcd's disk is full"

SCENARIOS = (
    *(WORKER, CONTROL_PLANE, MAJORITY, NO_BACKUP, ALL_CONTROL_PLANES, EVERYTHING, WRONG_DATA),
    NO_SPACE,
)


def commands(section: str, *, prompt: str) -> list[str]:
    """Return a section's commands without their comments.

    The prompt ``$`` is that of the operator's machine, ``#`` that of root on a control plane.
    """
    _, _, rest = PAGE.read_text().partition(f"\n## {section}\n")
    assert rest, f"docs/disaster.md has no section {section!r}"
    blocks = re.findall(r"```console\n(.*?)```", rest.partition("\n## ")[0], flags=re.DOTALL)
    lines = "".join(blocks).replace("\\\n", "").splitlines()
    assert not [line for line in lines if line[:2] not in ("$ ", "# ")], lines
    return [re.sub(r"\s{2,}# .*", "", line[2:]) for line in lines if line[0] == prompt]


def deploys(section: str) -> list[tuple[str, list[str]]]:
    """Return a section's runs of pyinfra: the name of each deploy, and the arguments as they were typed."""
    runs = []
    for command in commands(section, prompt="$"):
        program, *arguments = shlex.split(command)
        if program == "export":
            continue
        assert program == "pyinfra" and arguments[1] == INVENTORY, command
        runs.append((Path(arguments[2]).name, arguments))
    return runs


def filled(arguments: list[str], values: Mapping[str, str]) -> list[str]:
    """Return arguments with ``values`` instead of the page's examples, by the name of the data.

    Every other ``--data`` has one of the few values that the deploys know.
    """
    result = []
    for argument in arguments:
        name, equals, example = argument.partition("=")
        if equals and example not in ("true", "false", "disk"):
            argument = f"{name}={values[name]}"
        result.append(argument)
    return result


def data(arguments: list[str]) -> list[str]:
    """Return the ``--data`` of typed arguments as pyinfra also takes it, each in one word."""
    pairs = itertools.pairwise(arguments)
    return [f"--data={value}" for option, value in pairs if option == "--data"]
