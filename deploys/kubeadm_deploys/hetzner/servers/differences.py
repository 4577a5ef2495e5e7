"""Differences from the description that no run changes, each with the command that would."""

import ipaddress
import shlex
from collections.abc import Iterator

from kubeadm_deploys.hetzner.api.names import CONTROL_PLANE, belongs_to
from kubeadm_deploys.hetzner.api.project import LoadBalancer, Network, Project, Rule, Server
from kubeadm_deploys.hetzner.servers import wanted
from kubeadm_deploys.hetzner.servers.description import ClusterDescription, Pool
from kubeadm_deploys.model.nodes import API_PORT


def differences(description: ClusterDescription, project: Project) -> Iterator[str]:
    """Yield every difference that no run changes."""
    name = description.cluster_name
    for network in project.networks:
        if belongs_to(network.labels, name) and network.ip_range != str(description.network):
            yield _network_difference(network, described=description.network)
    for firewall in project.firewalls:
        if belongs_to(firewall.labels, name):
            for rule in firewall.rules:
                if not rule.description.startswith(wanted.RULE_PREFIX):
                    yield _extra_rule(rule, firewall.name)
    for pool in description.pools:
        servers = wanted.members(project.servers, description)[pool.name]
        for server in servers[: pool.count]:
            yield from _server_differences(description, pool, server, is_only_one=len(servers) == 1)
    for balancer in project.load_balancers:
        if belongs_to(balancer.labels, name) and description.has_load_balancer:
            yield from _load_balancer_differences(description, balancer)


def unmanaged(description: ClusterDescription, project: Project) -> Iterator[str]:
    """Yield resources that are not described, with how to remove them; a pool's highest numbers first."""
    members = wanted.members(project.servers, description)
    for pool in description.pools:
        servers = members[pool.name]
        for server in reversed(servers[pool.count :]):
            yield (
                f"server {server.name}: pool {pool.name} has {len(servers)} servers, but is described with "
                f"{pool.count}; to remove it: {_removal(server)}"
            )
    known = {server.id for servers in members.values() for server in servers}
    for server in project.servers:
        if server.id not in known:
            yield f"server {server.name} is in no described pool; to remove it: {_removal(server)}"
    if not description.has_load_balancer:
        for balancer in project.load_balancers:
            if belongs_to(balancer.labels, description.cluster_name):
                yield (
                    f"load balancer {balancer.name}: one control plane needs none, but nodes may still use "
                    f"it as the API's address; to remove it: hcloud load-balancer delete {balancer.name}"
                )


def _network_difference(network: Network, *, described: ipaddress.IPv4Network) -> str:
    current = ipaddress.IPv4Network(network.ip_range)
    fix = (
        f"to extend it: hcloud network change-ip-range --ip-range {described} {network.name}"
        if described.network_address == current.network_address and described.prefixlen < current.prefixlen
        else f"it cannot be moved or shrunk, so set hetzner.network back to {current}"
    )
    return f"network {network.name} is {current}, but described as {described}; {fix}"


def _replacement(server: Server, pool: Pool, *, is_only_one: bool) -> str:
    """Return how to replace a server that cannot be changed."""
    if pool.role == CONTROL_PLANE and is_only_one:
        return (
            "it is the only control plane, which cannot be replaced without losing the cluster; so change "
            "the description back, or create another cluster"
        )
    return f"to replace it: {_removal(server)}, then run this again"


def _removal(server: Server) -> str:
    # Not by hand: remove_node.py protects etcd's majority and the workers' way to the API.
    return f"deploys/remove_node.py --data node={server.name}, then hcloud server delete {server.name}"


def _extra_rule(rule: Rule, firewall: str) -> str:
    peer_option = "source-ips" if rule.direction == "in" else "destination-ips"
    direction = "incoming" if rule.direction == "in" else "outgoing"
    options = [f"--direction {rule.direction}", f"--protocol {rule.protocol}"]
    options += [f"--port {rule.port}"] if rule.port else []
    options += [f"--{peer_option} {peer}" for peer in sorted(rule.peers)]
    options += [f"--description {shlex.quote(rule.description)}"] if rule.description else []
    return (
        f"firewall {firewall} allows {direction} {' '.join(filter(None, (rule.protocol, rule.port)))}, "
        "which is not described; to remove the rule: "
        f"hcloud firewall delete-rule {' '.join(options)} {firewall}"
    )


def _server_differences(
    description: ClusterDescription, pool: Pool, server: Server, *, is_only_one: bool
) -> Iterator[str]:
    name = server.name
    if server.status == "off":
        yield f"server {name} is off; to start it: hcloud server poweron {name}"
    if server.server_type != pool.server_type:
        yield (
            f"server {name} is a {server.server_type}, but described as {pool.server_type}; to change it, "
            f"one server at a time: hcloud server shutdown --wait {name} && "
            f"hcloud server change-type --keep-disk {name} {pool.server_type} && hcloud server poweron {name}"
        )
    if server.location != description.location:
        yield (
            f"server {name} is in {server.location}, but described as {description.location}; it cannot be "
            f"moved; {_replacement(server, pool, is_only_one=is_only_one)}"
        )
    if server.image and server.image != description.image:
        yield (
            f"server {name} was created from {server.image}, but described as {description.image}; "
            f"{_replacement(server, pool, is_only_one=is_only_one)}"
        )
    missing = {
        key: value
        for key, value in wanted.server_labels(description, pool).items()
        if server.labels.get(key) != value
    }
    if missing:
        texts = " ".join(shlex.quote(f"{key}={value}") for key, value in missing.items())
        yield f"server {name} lacks labels; to add them: hcloud server add-label --overwrite {name} {texts}"
    if server.placement_group is None:
        group = wanted.group_name(description, pool.name, 1)
        yield (
            f"server {name} is in no placement group; to add it to one: "
            f"hcloud server shutdown --wait {name} && "
            f"hcloud server add-to-placement-group --placement-group {group} {name} && "
            f"hcloud server poweron {name}"
        )


def _load_balancer_differences(description: ClusterDescription, balancer: LoadBalancer) -> Iterator[str]:
    name = balancer.name
    if balancer.load_balancer_type != description.load_balancer_type:
        yield (
            f"load balancer {name} is a {balancer.load_balancer_type}, but described as "
            f"{description.load_balancer_type}; to change it: "
            f"hcloud load-balancer change-type {name} {description.load_balancer_type}"
        )
    if balancer.is_public != description.is_api_public:
        command = "enable-public-interface" if description.is_api_public else "disable-public-interface"
        yield (
            f"load balancer {name} {'is' if balancer.is_public else 'is not'} public, but with this api_from "
            f"it should {'' if description.is_api_public else 'not '}be; to change it: "
            f"hcloud load-balancer {command} {name}"
        )
    for service in balancer.services:
        if service.listen_port == API_PORT and service != wanted.API_SERVICE:
            check = wanted.API_SERVICE
            yield (
                f"load balancer {name} does not serve port {API_PORT} as described; to change it: "
                f"hcloud load-balancer update-service --listen-port {check.listen_port} "
                f"--protocol {check.protocol} --destination-port {check.destination_port} "
                f"--health-check-protocol {check.check_protocol} "
                f"--health-check-port {check.check_port} --health-check-http-tls "
                f"--health-check-http-path {check.check_path} --health-check-http-status-codes 200 {name}"
            )
