"""An inventory of local docker hosts: the running containers that carry a cluster's labels.

A container belongs to a cluster by these labels, whoever made it:

- ``kubeadm-deploys.cluster``: name of the cluster;
- ``kubeadm-deploys.group``: ``control_plane`` or ``workers``;
- ``kubeadm-deploys.data``: host data as a JSON object, e.g. ``{"node_name": "w1", "node_ip": "10.213.0.11"}``.

It has to run systemd and to be allowed what a Kubernetes node does. Nothing is made or started here.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterable
from typing import Any

from pyinfra import logger
from pyinfra.api.exceptions import InventoryError

CLUSTER_LABEL = "kubeadm-deploys.cluster"
GROUP_LABEL = "kubeadm-deploys.group"
DATA_LABEL = "kubeadm-deploys.data"

GROUPS = ("control_plane", "workers")

Group = list[tuple[str, dict[str, Any]]]
"""Hosts of one group in pyinfra's form: name and host data."""

# One JSON object a line; {{json .}} would give the labels as one text that cannot be taken apart for certain.
_FORMAT = (
    '{"name":{{json .Names}},"state":{{json .State}},'
    f'"group":{{{{json (.Label "{GROUP_LABEL}")}}}},"data":{{{{json (.Label "{DATA_LABEL}")}}}}}}'
)


def docker_groups() -> tuple[Group, Group]:
    """The groups ``control_plane`` and ``workers`` of the cluster that the environment's CLUSTER names.

    Raises:
        InventoryError: without any running host; pyinfra itself would take an empty inventory for a success.
    """
    cluster = os.environ.get("CLUSTER") or "kubeadm"
    containers = [json.loads(line) for line in _list_containers(cluster=cluster).splitlines()]
    stopped = sorted(container["name"] for container in containers if container["state"] != "running")
    if not containers:
        raise InventoryError(
            f"no docker host belongs to cluster {cluster!r}: make some with `make cluster`, "
            "or name another cluster in the environment variable CLUSTER"
        )
    if len(stopped) == len(containers):
        raise InventoryError(
            f"no docker host of cluster {cluster!r} is running: start them with `docker start {' '.join(stopped)}`"
        )
    if stopped:
        logger.warning(f"--> Warning: left out, because not running: {', '.join(stopped)}")
    control_planes, workers = (hosts_of(containers, group=group) for group in GROUPS)
    return control_planes, workers


def hosts_of(containers: Iterable[dict[str, str]], *, group: str) -> Group:
    """The running hosts of one group, worker-2 before worker-10.

    Stopped ones must not get into an inventory: pyinfra would start them, commit them to an image and delete them.

    Raises:
        InventoryError: for a container whose labels cannot be understood.
    """
    running = sorted((c for c in containers if c["state"] == "running"), key=lambda c: _by_number(c["name"]))
    for container in running:
        if container["group"] not in GROUPS:
            raise InventoryError(
                f"container {container['name']}: label {GROUP_LABEL} is {container['group']!r}, "
                f"it must be one of {', '.join(GROUPS)}"
            )
    return [(f"@docker/{c['name']}", _data(c)) for c in running if c["group"] == group]


def _data(container: dict[str, str]) -> dict[str, Any]:
    try:
        data = json.loads(container["data"] or "{}")
    except json.JSONDecodeError:
        data = None
    if not isinstance(data, dict):
        raise InventoryError(
            f"container {container['name']}: label {DATA_LABEL} is {container['data']!r}, it must be a JSON object"
        )
    return data


def _by_number(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _list_containers(*, cluster: str) -> str:
    command = ("docker", "ps", "--all", f"--filter=label={CLUSTER_LABEL}={cluster}", f"--format={_FORMAT}")
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise InventoryError(
            "docker is not installed: `make cluster` installs it, or name another inventory"
        ) from None
    if listed.returncode != 0:
        raise InventoryError(
            f"docker does not answer, start it or run `make cluster`: {listed.stderr.strip()}"
        )
    return listed.stdout
