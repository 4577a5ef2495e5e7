"""The product's scripts as tests see them: recognised by their names, and run on this machine with other programs."""

import shlex

from pyinfra.api.command import StringCommand

from kubeadm_deploys.scripts import ENVIRONMENT, PATH


def script_called(command: str) -> tuple[str, list[str]]:
    """The name of the script that a command runs, empty when it runs none, and its arguments."""
    if not command.startswith(f"{ENVIRONMENT} sh -c "):
        return "", []
    _, _, _, _, _, _, name, *arguments = shlex.split(command)
    return name, arguments


def with_path(command: str | StringCommand, path: object) -> str:
    """A command whose scripts find programs in this path alone."""
    text = command if isinstance(command, str) else str(command.get_raw_value())
    assert f"PATH={PATH} " in text, text
    return text.replace(f"PATH={PATH} ", f"PATH={path} ")


def with_programs(command: str | StringCommand, folder: object) -> str:
    """A command whose scripts find the programs of a folder before the machine's."""
    return with_path(command, f"{folder}:{PATH}")
