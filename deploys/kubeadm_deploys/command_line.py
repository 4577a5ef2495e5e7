"""The command ``kubeadm-deploys``: write the files of a new project."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from kubeadm_deploys.model.errors import InputError

_PACKAGE = Path(__file__).parent

FILES = {
    "config.py": "config.py",
    "deploys/cluster.py": "deploys/cluster.py",
    "deploys/backup.py": "deploys/backup.py",
    "deploys/preflight.py": "deploys/preflight.py",
    "deploys/remove_node.py": "deploys/remove_node.py",
    "deploys/reset.py": "deploys/reset.py",
    "deploys/restore.py": "deploys/restore.py",
    "deploys/servers.py": "deploys/servers.py",
    "deploys/status.py": "deploys/status.py",
    "deploys/upgrade.py": "deploys/upgrade.py",
    "deploys/destroy_servers.py": "deploys/destroy_servers.py",
    "inventories/hetzner.py": "inventories/hetzner.py",
    "inventories/group_data/hetzner.py": "inventories/group_data/hetzner.py",
    "inventories/machines.py": "examples/own-machines/inventory.py",
    "inventories/group_data/all.py": "examples/own-machines/group_data/all.py",
}
"""The files of a project, by the files of this one that they are copies of; pyproject.toml puts these into the wheel."""

_NEXT = """\
Next, in {folder}:
  edit inventories/machines.py and inventories/group_data/all.py, then
  pyinfra -y inventories/machines.py deploys/preflight.py     # only the checks
  pyinfra inventories/machines.py deploys/cluster.py          # shows the plan, asks, and runs
or, on Hetzner Cloud, edit inventories/group_data/hetzner.py, export HCLOUD_TOKEN, then
  pyinfra --dry @local deploys/servers.py                     # what would be created, and the price
  pyinfra -y @local deploys/servers.py
  pyinfra -y inventories/hetzner.py deploys/cluster.py
A run of cluster.py ends with the path of the kubeconfig."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="kubeadm-deploys", description="pyinfra deploys that create Kubernetes clusters with kubeadm."
    )
    parser.add_argument("--version", action="version", version=version("kubeadm-deploys"))
    commands = parser.add_subparsers(dest="command", required=True)
    init = commands.add_parser("init", help="write the scripts and inventories of a new project")
    init.add_argument("folder", metavar="DIR", type=Path, help="where to write them; may exist")
    parsed = parser.parse_args(arguments)
    try:
        write_project(parsed.folder)
    except InputError as error:
        print(f"kubeadm-deploys: {error}", file=sys.stderr)
        return 1
    print(_NEXT.format(folder=parsed.folder))
    return 0


def write_project(folder: Path) -> None:
    """Write ``FILES`` into a folder, which is created if need be. Nothing is written if any of them exists.

    Raises:
        InputError: a file exists, the folder cannot be written, or the installation lacks a file.
    """
    existing = [name for name in FILES if (folder / name).exists()]
    if existing:
        raise InputError(
            [
                f"{folder / name}: already exists and was not overwritten; choose another folder"
                for name in existing
            ]
        )
    sources = {name: _source(source) for name, source in FILES.items()}
    if missing := [source for source in sources.values() if not source.is_file()]:
        raise InputError([f"{source}: is missing; install kubeadm-deploys again" for source in missing])
    for name, source in sources.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, path)
        except OSError as error:
            raise InputError(
                [f"{path}: cannot be written ({error.strerror}); choose another folder"]
            ) from None


def _source(name: str) -> Path:
    """A file of this project: inside the package when installed, at its own place in a checkout."""
    installed = _PACKAGE / "project" / name
    return installed if installed.is_file() else _PACKAGE.parents[1] / name
