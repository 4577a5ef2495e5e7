"""The inventory of a cluster on Hetzner: its running servers, selected by the cluster's label."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyinfra import logger
from pyinfra.api.exceptions import InventoryError

from kubeadm_deploys.hetzner.api.client import HetznerError, connect
from kubeadm_deploys.hetzner.api.names import recorded_servers, state_folder
from kubeadm_deploys.hetzner.api.state_folder import (
    JUMP_HOST,
    KNOWN_HOSTS,
    SSH_CONFIG,
    forget_known_hosts,
    prepare_known_hosts,
    write_private_file,
)
from kubeadm_deploys.hetzner.inventory.answer import Answer, current_answer, list_cluster, now_utc
from kubeadm_deploys.hetzner.inventory.hosts import (
    Groups,
    LoadBalancer,
    Server,
    api_load_balancer,
    cluster_data,
    control_planes,
    groups_of,
    hosts_of,
    idle_servers,
    running_servers,
)
from kubeadm_deploys.hetzner.inventory.ssh import (
    explain_changed_keys,
    parse_jump_host,
    ssh_config,
)
from kubeadm_deploys.hetzner.servers.description import ClusterDescription
from kubeadm_deploys.hetzner.servers.description_file import load_description
from kubeadm_deploys.remote.workarounds import quiet_paramiko

_READ_TIMEOUT = 10.0
"""Seconds; short, because the inventory can use a cached answer."""


def hetzner_groups(inventory_file: str) -> Groups:
    """Return the groups of the cluster described by ``group_data/<inventory name>.py`` beside the inventory.

    They are ``control_plane``, ``workers`` and one per pool of workers. The API is called at most once a
    minute, with the token in the environment's HCLOUD_TOKEN.

    Raises:
        InventoryError: no server is running; pyinfra would take an empty inventory for a success.
        InputError: the description is wrong.
        HetznerError: the API refused a call.
    """
    path = Path(inventory_file).absolute()
    # The key may be in an agent or a colleague's; existing servers already have it.
    description, variables = load_description(path.parent / "group_data" / path.name, needs_key=False)
    # Absolute, because users of the data may have another working directory than pyinfra.
    state = state_folder(description.cluster_name).absolute()
    try:
        answer = _current_answer(description, state=state)
        servers = _usable_servers(answer, description=description, make=_make_command(path))
        balancer = _load_balancer(answer, description=description, make=_make_command(path))
        shared = cluster_data(description, endpoint=answer.endpoint, balancer=balancer)
        hosts = hosts_of(
            servers, description=description, variables=variables, balancer=balancer, state=state
        )
        _prepare_ssh(hosts, description=description, defaults={**shared, **variables}, state=state)
    except OSError as error:
        raise InventoryError(
            f"{error.filename}: {error.strerror}; start pyinfra in a folder that you can write to"
        ) from None
    return groups_of(servers, inventory=path.stem, shared=shared, hosts=hosts)


def _current_answer(description: ClusterDescription, *, state: Path) -> Answer:
    endpoint = os.environ.get("HCLOUD_ENDPOINT", "").rstrip("/")
    now = now_utc()

    def ask() -> Answer:
        try:
            client = connect(read_timeout=_READ_TIMEOUT, longest_wait=0)
        except HetznerError as error:
            # Not a HetznerError, for which the cached answer would be used: a missing token must fail.
            raise InventoryError(str(error)) from None
        return list_cluster(client, description=description, endpoint=endpoint, now=now)

    answer, is_new = current_answer(
        ask,
        record=recorded_servers(description.cluster_name).absolute(),
        endpoint=endpoint,
        environment=os.environ,
        now=now,
    )
    if is_new:
        forget_known_hosts(state / KNOWN_HOSTS, servers=[server["id"] for server in answer.servers])
    return answer


def _make_command(inventory: Path) -> str:
    """Return the command that creates the servers; by default it reads the description of hetzner.py."""
    option = (
        "" if inventory.stem == "hetzner" else f" --data description=inventories/group_data/{inventory.name}"
    )
    return f"`pyinfra -y @local deploys/servers.py{option}`"


def _usable_servers(answer: Answer, *, description: ClusterDescription, make: str) -> list[Server]:
    servers = running_servers(answer.servers)
    idle = idle_servers(answer.servers)
    if not answer.servers:
        raise InventoryError(
            f"cluster {description.cluster_name!r} has no servers; create them with {make}, "
            "or correct cluster_name in the inventory's group data"
        )
    if not servers:
        raise InventoryError(
            f"no server of cluster {description.cluster_name!r} is running: {idle}; start them with "
            "`hcloud server poweron`"
        )
    if idle:
        logger.warning(f"--> Warning: skipping servers that are not running: {idle}")
    return servers


def _load_balancer(answer: Answer, *, description: ClusterDescription, make: str) -> LoadBalancer | None:
    balancer = api_load_balancer(answer.load_balancers, description=description)
    if not balancer and len(control_planes(answer.servers)) > 1:
        logger.warning(
            f"--> Warning: no load balancer {description.cluster_name!r} found for the API servers; create "
            f"it with {make}"
        )
    return balancer


def _prepare_ssh(
    hosts: Mapping[str, Mapping[str, Any]],
    *,
    description: ClusterDescription,
    defaults: Mapping[str, Any],
    state: Path,
) -> None:
    key_files = {
        str(data["ssh_hostname"]): [Path(data["ssh_known_hosts_file"])]
        for data in hosts.values()
        if "ssh_known_hosts_file" in data
    }
    for address, (path,) in key_files.items():
        port = defaults.get("ssh_port", 22)
        prepare_known_hosts(path, entry=address if port == 22 else f"[{address}]:{port}")
    jump_host, jump_keys = None, state / KNOWN_HOSTS / JUMP_HOST
    if description.jump_host:
        jump_host = parse_jump_host(
            description.jump_host, cluster_name=description.cluster_name, servers={*hosts, *key_files}
        )
        prepare_known_hosts(jump_keys)
        key_files.setdefault(jump_host.address, []).append(jump_keys)
    text = ssh_config(
        {name: {**defaults, **data} for name, data in hosts.items()},
        jump_host=jump_host,
        known_hosts=jump_keys,
        users_config=Path(defaults.get("ssh_config_file", "~/.ssh/config")).expanduser().absolute(),
    )
    write_private_file(state / SSH_CONFIG, text)
    explain_changed_keys(key_files)
    quiet_paramiko()
