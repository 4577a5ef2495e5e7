"""Inventories of docker hosts: in another order, with a machine that is down, with an additional worker."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.lab.hosts import Host

_REVERSED = """
from kubeadm_deploys.inventory.docker_hosts import docker_groups

control_plane, workers = (group[::-1] for group in docker_groups())
"""

_RUNNING = """
from kubeadm_deploys.inventory.docker_hosts import docker_groups

control_plane, workers = docker_groups()
"""


def reversed_order(folder: Path) -> Path:
    """Return an inventory of the running hosts, each group in reverse order."""
    return _written(folder / "reversed.py", _REVERSED)


def with_unreachable(folder: Path, hosts: Iterable[Host]) -> Path:
    """Return an inventory of ``hosts``, at whose address no SSH server answers, then the running hosts.

    Docker's inventory leaves out stopped machines; an inventory of machines on a network cannot know.
    """
    entries = "".join(
        f"{host.group}.insert(0, ({host.name!r}, {_data(host)!r}))\n" for host in reversed(list(hosts))
    )
    return _written(folder / "unreachable.py", _RUNNING + entries)


def with_worker(folder: Path, *, name: str, data: Mapping[str, object]) -> Path:
    """Return an inventory of the running hosts and one worker that is not a docker host."""
    return _written(folder / "with_worker.py", f"{_RUNNING}workers.append(({name!r}, {dict(data)!r}))\n")


def _data(host: Host) -> dict[str, object]:
    # Nothing listens on port 1.
    return {**host.data, "ssh_hostname": "127.0.0.1", "ssh_port": 1}


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
