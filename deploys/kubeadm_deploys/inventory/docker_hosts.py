"""An inventory of local docker hosts: the running containers with a cluster's labels.

These labels assign a container to a cluster:

- ``kubeadm-deploys.cluster``: name of the cluster;
- ``kubeadm-deploys.group``: ``control_plane`` or ``workers``;
- ``kubeadm-deploys.data``: host data as a JSON object, e.g. ``{"node_name": "w1", "node_ip": "10.213.0.11"}``.

The container has to run systemd, with the privileges of a Kubernetes node. This module starts nothing.
"""

import json
import os
import subprocess
from collections.abc import Iterable
from typing import Any

from pyinfra import logger
from pyinfra.api.exceptions import InventoryError

from kubeadm_deploys.model.nodes import by_number

CLUSTER_LABEL = "kubeadm-deploys.cluster"
GROUP_LABEL = "kubeadm-deploys.group"
DATA_LABEL = "kubeadm-deploys.data"

GROUPS = ("control_plane", "workers")

Group = list[tuple[str, dict[str, Any]]]
"""Hosts of one group in pyinfra's format: name and host data."""

# One JSON object per line; {{json .}} would return the labels as one ambiguous text.
_FORMAT = (
    '{"name":{{json .Names}},"state":{{json .State}},'
    f'"group":{{{{json (.Label "{GROUP_LABEL}")}}}},"data":{{{{json (.Label "{DATA_LABEL}")}}}}}}'
)


def docker_groups() -> tuple[Group, Group]:
    """Return the groups ``control_plane`` and ``workers`` of the cluster in the environment variable CLUSTER.

    Raises:
        InventoryError: no host is running; pyinfra itself would succeed with an empty inventory.
    """
    cluster = os.environ.get("CLUSTER") or "kubeadm"
    containers = [json.loads(line) for line in _list_containers(cluster=cluster).splitlines()]
    stopped = sorted(container["name"] for container in containers if container["state"] != "running")
    if not containers:
        raise InventoryError(
            f"no docker host belongs to cluster {cluster!r}: create hosts with `make cluster`, "
            "or set the environment variable CLUSTER to another cluster"
        )
    if len(stopped) == len(containers):
        raise InventoryError(
            f"no docker host of cluster {cluster!r} is running: start them with `docker start {' '.join(stopped)}`"
        )
    if stopped:
        logger.warning(f"--> Warning: ignoring hosts that are not running: {', '.join(stopped)}")
    control_planes, workers = (hosts_of(containers, group=group) for group in GROUPS)
    return control_planes, workers


def hosts_of(containers: Iterable[dict[str, str]], *, group: str) -> Group:
    """Return the running hosts of one group, worker-2 before worker-10.

    Stopped hosts are left out: pyinfra would start them, commit them to an image and delete them.

    Raises:
        InventoryError: the labels of a container are not valid.
    """
    running = sorted((c for c in containers if c["state"] == "running"), key=lambda c: by_number(c["name"]))
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


def _list_containers(*, cluster: str) -> str:
    command = ("docker", "ps", "--all", f"--filter=label={CLUSTER_LABEL}={cluster}", f"--format={_FORMAT}")
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise InventoryError(
            "docker is not installed: install it with `make cluster`, or use another inventory"
        ) from None
    if listed.returncode != 0:
        raise InventoryError(
            f"docker does not answer; start it or run `make cluster`: {listed.stderr.strip()}"
        )
    return listed.stdout
