"""Convert the API's servers to pyinfra's groups and hosts; pure, so it can be tested on recorded answers."""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyinfra.api.exceptions import InventoryError

from kubeadm_deploys.hetzner.api.names import CONTROL_PLANE, POOL_LABEL, ROLE_LABEL, WORKER
from kubeadm_deploys.hetzner.api.state_folder import KNOWN_HOSTS, SSH_CONFIG
from kubeadm_deploys.hetzner.servers.description import ClusterDescription
from kubeadm_deploys.model import checks
from kubeadm_deploys.model.nodes import by_number

Server = Mapping[str, Any]
"""A server as the API sends it."""

LoadBalancer = Mapping[str, Any]
"""A load balancer as the API sends it."""

Host = tuple[str, dict[str, Any]]
"""A host in pyinfra's form: name and data."""

Groups = dict[str, Any]
"""Variables of an inventory file: per group names or hosts, and for the group ``all`` names and data."""

_CONNECTING: Mapping[str, Any] = {
    # Wait about 45 s for a new server's sshd, but less than three minutes for a server that never answers.
    "ssh_connect_retries": 12,
    "ssh_connect_retry_min_delay": 3.0,
    "ssh_connect_retry_max_delay": 5.0,
}

_GROUP_OF_ROLE = {CONTROL_PLANE: "control_plane", WORKER: "workers"}


def _sort_key(server: Server) -> list[tuple[int, str]]:
    return by_number(str(server["name"]))


def running_servers(servers: Iterable[Server]) -> list[Server]:
    """Return the running servers, sorted by name."""
    return sorted((server for server in servers if server["status"] == "running"), key=_sort_key)


def idle_servers(servers: Iterable[Server]) -> str:
    """Return a text with the servers that are not running and their status; empty if all are running."""
    idle = sorted((server for server in servers if server["status"] != "running"), key=_sort_key)
    return ", ".join(f"{server['name']} ({server['status']})" for server in idle)


def control_planes(servers: Iterable[Server]) -> list[Server]:
    """Return the servers with the control plane label, running or not."""
    return [server for server in servers if server["labels"].get(ROLE_LABEL) == CONTROL_PLANE]


def api_load_balancer(
    load_balancers: Iterable[LoadBalancer], *, description: ClusterDescription
) -> LoadBalancer | None:
    """Return the load balancer of the API servers, which has the cluster's name."""
    named = (balancer for balancer in load_balancers if balancer["name"] == description.cluster_name)
    return next(named, None)


def groups_of(
    servers: Sequence[Server],
    *,
    inventory: str,
    shared: Mapping[str, Any],
    hosts: Mapping[str, dict[str, Any]],
) -> Groups:
    """Return the groups of running servers, the more general first: in pyinfra a later group's data wins.

    ``shared`` becomes the data of the group ``all``, which any data written by a user overrides. ``hosts`` is
    the data of each server by name, and ``inventory`` the group that pyinfra names after the inventory file.

    Raises:
        InventoryError: with every server whose labels name no group.
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
                "set it to the server's pool"
            )


def cluster_data(
    description: ClusterDescription, *, endpoint: str, balancer: LoadBalancer | None
) -> dict[str, Any]:
    """Return the data of every server; anything that the user sets overrides it."""
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
        # Otherwise the key is in the user's agent, which pyinfra only asks when no file is set.
        data["ssh_key"] = str(key)
    if balancer:
        data["api_load_balancer_address"] = load_balancer_addresses(balancer, description=description)[0]
    return data


def hosts_of(
    servers: Iterable[Server],
    *,
    description: ClusterDescription,
    variables: Mapping[str, Any],
    balancer: LoadBalancer | None,
    state: Path,
) -> dict[str, dict[str, Any]]:
    """Return the data of each server, by server name.

    In pyinfra host data overrides the other ``variables`` of the description file, so values that are set
    there are left out, or extended.

    Raises:
        InventoryError: with every server that lacks an address.
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
                "requires; add one, or change hetzner.connect_by"
            )


def address_of(server: Server, *, description: ClusterDescription) -> str:
    """Return the address that SSH connects to; empty when the server has none of the wanted kind."""
    public = server["public_net"]
    if description.connect_by == "private":
        return str((private_interface(server, network=description.network) or {}).get("ip", ""))
    if description.connect_by == "public_ipv6":
        # A server gets a whole /64; Hetzner's images use its first address.
        return str(ipaddress.IPv6Network(public["ipv6"]["ip"])[1]) if public["ipv6"] else ""
    return str(public["ipv4"]["ip"]) if public["ipv4"] else ""


def private_interface(
    machine: Server | LoadBalancer, *, network: ipaddress.IPv4Network
) -> Mapping[str, Any] | None:
    """Return a machine's interface in a network; at most one, since Hetzner's networks cannot overlap."""
    matching = (
        interface for interface in machine["private_net"] if ipaddress.IPv4Address(interface["ip"]) in network
    )
    return next(matching, None)


def load_balancer_addresses(balancer: LoadBalancer, *, description: ClusterDescription) -> list[str]:
    """Return the addresses of the API's load balancer, first the private one, which the nodes use.

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
    addresses = ", ".join(interface["ip"] for interface in machine["private_net"]) or "none"
    return (
        f"{kind} {name} has no private address in hetzner.network {description.network} (it has: "
        f"{addresses}); attach it with `hcloud {kind} attach-to-network {name} --network "
        f"{description.cluster_name}`, or correct hetzner.network"
    )
