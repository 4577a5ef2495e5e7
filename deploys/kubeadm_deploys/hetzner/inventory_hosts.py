"""From the API's servers to pyinfra's groups and hosts: pure, so that it can be tried on recorded answers."""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyinfra.api.exceptions import InventoryError

from kubeadm_deploys import checks
from kubeadm_deploys.hetzner.description import ClusterDescription
from kubeadm_deploys.hetzner.inventory_files import KNOWN_HOSTS, SSH_CONFIG
from kubeadm_deploys.hetzner.names import CONTROL_PLANE, POOL_LABEL, ROLE_LABEL, WORKER

Server = Mapping[str, Any]
"""A server as the API writes it."""

LoadBalancer = Mapping[str, Any]
"""A load balancer as the API writes it."""

Host = tuple[str, dict[str, Any]]
"""A host in pyinfra's form: name and data."""

Groups = dict[str, Any]
"""Variables of an inventory file: names, or hosts, and for the group ``all`` names and data."""

_CONNECTING: Mapping[str, Any] = {
    # About 45 s for a new server whose sshd does not run yet, under three minutes for one that never answers.
    "ssh_connect_retries": 12,
    "ssh_connect_retry_min_delay": 3.0,
    "ssh_connect_retry_max_delay": 5.0,
}

_GROUP_OF_ROLE = {CONTROL_PLANE: "control_plane", WORKER: "workers"}


def by_number(server: Server) -> list[tuple[int, str]]:
    """Sort key of a server's name: worker-2 before worker-10."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", server["name"])
    ]


def running_servers(servers: Iterable[Server]) -> list[Server]:
    """The servers that can be reached, in the order of their names."""
    return sorted((server for server in servers if server["status"] == "running"), key=by_number)


def idle_servers(servers: Iterable[Server]) -> str:
    """The servers that are not running, each with its status, as a text for the operator; empty without any."""
    idle = sorted((server for server in servers if server["status"] != "running"), key=by_number)
    return ", ".join(f"{server['name']} ({server['status']})" for server in idle)


def control_planes(servers: Iterable[Server]) -> list[Server]:
    """The servers that carry the control planes' label, running or not."""
    return [server for server in servers if server["labels"].get(ROLE_LABEL) == CONTROL_PLANE]


def api_load_balancer(
    load_balancers: Iterable[LoadBalancer], *, description: ClusterDescription
) -> LoadBalancer | None:
    """The load balancer before the API servers; it has the cluster's name."""
    named = (each for each in load_balancers if each["name"] == description.cluster_name)
    return next(named, None)


def groups_of(
    servers: Sequence[Server],
    *,
    inventory: str,
    shared: Mapping[str, Any],
    hosts: Mapping[str, dict[str, Any]],
) -> Groups:
    """The groups of running servers, the more general first: in pyinfra a later group's data win.

    ``shared`` becomes data of the group ``all``, which everything that a user writes beats; ``hosts`` is the
    data of each server by name, and ``inventory`` the group that pyinfra names after the inventory's file.

    Raises:
        InventoryError: for servers whose labels name no group.
    """
    names = [server["name"] for server in servers]
    groups: Groups = {"all": (names, dict(shared)), inventory: names, "control_plane": [], "workers": []}
    if problems := list(_label_problems(servers, reserved=groups)):
        raise InventoryError("; ".join(problems))
    for server in servers:
        group = _GROUP_OF_ROLE[server["labels"][ROLE_LABEL]]
        groups[group].append((server["name"], hosts[server["name"]]))
        if group == "workers" and (pool := server["labels"].get(POOL_LABEL)):
            groups.setdefault(pool, []).append(server["name"])
    return groups


def _label_problems(servers: Iterable[Server], *, reserved: Iterable[str]) -> Iterator[str]:
    for server in servers:
        role, pool = (server["labels"].get(label) for label in (ROLE_LABEL, POOL_LABEL))
        if role not in _GROUP_OF_ROLE:
            yield (
                f"server {server['name']}: label {ROLE_LABEL} is {role!r}, it must be one of "
                f"{', '.join(_GROUP_OF_ROLE)}; correct it with "
                f"`hcloud server add-label --overwrite {server['name']} {ROLE_LABEL}={WORKER}`"
            )
        elif role == WORKER and pool in reserved:
            yield (
                f"server {server['name']}: label {POOL_LABEL} is {pool!r}, which is another group's name; "
                "name the pool that it belongs to"
            )


def cluster_data(
    description: ClusterDescription, *, endpoint: str, balancer: LoadBalancer | None
) -> dict[str, Any]:
    """What is true for every server, unless the user says otherwise anywhere."""
    key = Path(description.ssh_key).expanduser().absolute().with_suffix("")
    data: dict[str, Any] = {
        "cloud_provider": "hetzner",
        "hcloud_network": description.cluster_name,
        "ssh_user": "root",
        **_CONNECTING,
    }
    if endpoint:
        data["hcloud_endpoint"] = endpoint
    if key.exists():
        # Else it is in the user's agent, where pyinfra looks only when no file is named.
        data["ssh_key"] = str(key)
    if balancer:
        data["load_balancer_address"] = load_balancer_addresses(balancer, description=description)[0]
    return data


def hosts_of(
    servers: Iterable[Server],
    *,
    description: ClusterDescription,
    variables: Mapping[str, Any],
    balancer: LoadBalancer | None,
    state: Path,
) -> dict[str, dict[str, Any]]:
    """What is only true for one server, by name of the server.

    In pyinfra this beats what the description's file says in its other ``variables``, so what those say
    already is left out, or added to.

    Raises:
        InventoryError: for servers that lack an address, all of them at once.
    """
    servers = list(servers)
    if problems := list(_address_problems(servers, description=description)):
        raise InventoryError("; ".join(problems))
    common: dict[str, Any] = {}
    if description.jump_host:
        common["ssh_config_file"] = str(state / SSH_CONFIG)
    if balancer:
        addresses = load_balancer_addresses(balancer, description=description)
        common["certificate_sans"] = [*checks.items(variables.get("certificate_sans", ())), *addresses]
    return {
        server["name"]: {
            **{
                key: value
                for key, value in _host_data(server, description=description, state=state).items()
                if key not in variables
            },
            **common,
        }
        for server in servers
    }


def _host_data(server: Server, *, description: ClusterDescription, state: Path) -> dict[str, Any]:
    interface = private_interface(server, network=description.network) or {}
    return {
        "ssh_hostname": address_of(server, description=description),
        "ssh_known_hosts_file": str(state / KNOWN_HOSTS / str(server["id"])),
        "node_name": server["name"],
        "node_ip": interface["ip"],
        "node_interface_mac": interface["mac_address"],
        "provider_id": f"hcloud://{server['id']}",
        "hcloud_location": server["location"]["name"],
    }


def _address_problems(servers: Iterable[Server], *, description: ClusterDescription) -> Iterator[str]:
    for server in servers:
        if not private_interface(server, network=description.network):
            yield _no_private_address(server, kind="server", description=description)
        elif not address_of(server, description=description):
            yield (
                f"server {server['name']} has no {description.connect_by} address, which hetzner.connect_by "
                "asks for; give it one, or connect by another kind of address"
            )


def address_of(server: Server, *, description: ClusterDescription) -> str:
    """Where SSH reaches a server; empty when it has no address of the wanted kind."""
    public = server["public_net"]
    if description.connect_by == "private":
        return str((private_interface(server, network=description.network) or {}).get("ip", ""))
    if description.connect_by == "public_ipv6":
        # A server gets a whole /64; Hetzner's images take its first address.
        return str(ipaddress.IPv6Network(public["ipv6"]["ip"])[1]) if public["ipv6"] else ""
    return str(public["ipv4"]["ip"]) if public["ipv4"] else ""


def private_interface(machine: Server | LoadBalancer, *, network: str) -> Mapping[str, Any] | None:
    """A machine's interface in a network; there is at most one, as Hetzner refuses networks that overlap."""
    wanted = ipaddress.IPv4Network(network)
    inside = (each for each in machine["private_net"] if ipaddress.IPv4Address(each["ip"]) in wanted)
    return next(inside, None)


def load_balancer_addresses(balancer: LoadBalancer, *, description: ClusterDescription) -> list[str]:
    """Every address of the API's load balancer, the private one, which the nodes use, first.

    Raises:
        InventoryError: it is not attached to the cluster's network.
    """
    interface = private_interface(balancer, network=description.network)
    if not interface:
        raise InventoryError(_no_private_address(balancer, kind="load-balancer", description=description))
    public = balancer["public_net"]
    families = [public["ipv4"], public["ipv6"]] if public["enabled"] else []
    return [interface["ip"], *(family["ip"] for family in families if family.get("ip"))]


def _no_private_address(machine: Server | LoadBalancer, *, kind: str, description: ClusterDescription) -> str:
    name = machine["name"]
    found = ", ".join(interface["ip"] for interface in machine["private_net"]) or "none"
    return (
        f"{kind} {name} has no private address in hetzner.network {description.network} (it has: {found}); "
        f"attach it with `hcloud {kind} attach-to-network {name} --network {description.cluster_name}`, "
        "or correct hetzner.network"
    )
