"""Recognise the product's scripts by name, and run them on this machine with other programs."""

import shlex

from pyinfra.api.command import StringCommand

from kubeadm_deploys.scripts import ENVIRONMENT, PATH


def script_called(command: str) -> tuple[str, list[str]]:
    """Return the name of the script that a command runs ("" if none), and its arguments."""
    if not command.startswith(f"{ENVIRONMENT} sh -c "):
        return "", []
    _, _, _, name, *arguments = shlex.split(command.removeprefix(ENVIRONMENT))
    return name, arguments


def with_path(command: str | StringCommand, path: object) -> str:
    """Return the command with scripts that find programs only in this path."""
    text = command if isinstance(command, str) else str(command.get_raw_value())
    assert f"PATH={PATH} " in text, text
    return text.replace(f"PATH={PATH} ", f"PATH={path} ")


def with_programs(command: str | StringCommand, folder: object) -> str:
    """Return the command with scripts that find the programs of a folder before the machine's."""
    return with_path(command, f"{folder}:{PATH}")
