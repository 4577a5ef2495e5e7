"""What is otherwise than described and stays so: told, each with the command that would change it."""

import ipaddress
import shlex
from collections.abc import Iterator

from kubeadm_deploys.hetzner import wanted
from kubeadm_deploys.hetzner.description import ClusterDescription, Pool
from kubeadm_deploys.hetzner.inventory_files import SSH_CONFIG
from kubeadm_deploys.hetzner.names import CLUSTER_LABEL, CONTROL_PLANE, belongs_to, state_folder
from kubeadm_deploys.hetzner.project import LoadBalancer, Network, Project, Rule, Server


def differences(description: ClusterDescription, project: Project) -> Iterator[str]:
    """Every difference that no run will change by itself."""
    name = description.cluster_name
    for network in project.networks:
        if belongs_to(network.labels, name) and network.ip_range != description.network:
            yield _network_difference(network, wanted_range=description.network)
    for firewall in project.firewalls:
        if belongs_to(firewall.labels, name):
            for rule in firewall.rules:
                if not rule.description.startswith(wanted.RULE_PREFIX):
                    yield _further_rule(rule, firewall.name)
    for pool in description.pools:
        servers = wanted.members(project.servers, description)[pool.name]
        for server in servers[: pool.count]:
            yield from _server_differences(description, pool, server, is_only_one=len(servers) == 1)
    for balancer in project.load_balancers:
        if belongs_to(balancer.labels, name) and description.has_load_balancer:
            yield from _load_balancer_differences(description, balancer)


def surplus(description: ClusterDescription, project: Project) -> Iterator[str]:
    """What is more than described, with how to remove it; the highest numbers of a pool first."""
    members = wanted.members(project.servers, description)
    for pool in description.pools:
        servers = members[pool.name]
        for server in reversed(servers[pool.count :]):
            yield (
                f"server {server.name}: pool {pool.name} has {len(servers)} servers, described are {pool.count}; "
                f"to remove it: {_removal(server, pool)}"
            )
    known = {server.id for servers in members.values() for server in servers}
    for server in project.servers:
        if server.id not in known:
            yield (
                f"server {server.name} is in no pool of the description; to remove it: {_removal(server, None)}"
            )
    if not description.has_load_balancer:
        for balancer in project.load_balancers:
            if belongs_to(balancer.labels, description.cluster_name):
                yield (
                    f"load balancer {balancer.name}: one control plane needs none, but nodes may still use it as "
                    f"the API's address; to remove it: hcloud load-balancer delete {balancer.name}"
                )


def _network_difference(network: Network, *, wanted_range: str) -> str:
    now, then = ipaddress.IPv4Network(network.ip_range), ipaddress.IPv4Network(wanted_range)
    cure = (
        f"to extend it: hcloud network change-ip-range --ip-range {then} {network.name}"
        if then.network_address == now.network_address and then.prefixlen < now.prefixlen
        else f"it cannot be moved or made smaller, so write {now} into hetzner.network again"
    )
    return f"network {network.name} is {now}, described as {then}; {cure}"


def _replacement(server: Server, pool: Pool, *, is_only_one: bool) -> str:
    """How to have a server otherwise that cannot be changed."""
    if pool.role == CONTROL_PLANE and is_only_one:
        return (
            "it is the only control plane, which cannot be replaced without losing the cluster; so write what it is "
            "into the description again, or make another cluster"
        )
    return f"to replace it: {_removal(server, pool)}, then run this again"


def _removal(server: Server, pool: Pool | None) -> str:
    steps = [
        f"kubectl drain {server.name} --ignore-daemonsets --delete-emptydir-data",
        f"kubectl delete node {server.name}",
        f"hcloud server delete {server.name}",
    ]
    if pool and pool.role == CONTROL_PLANE:
        # Takes the member out of etcd, which would otherwise count the lost server for its majority.
        # The inventory writes the file, in which the server has its address and host key.
        config = state_folder(server.labels[CLUSTER_LABEL]) / SSH_CONFIG
        steps.insert(1, f"ssh -F {config} {server.name} kubeadm reset --force")
    return " && ".join(steps)


def _further_rule(rule: Rule, firewall: str) -> str:
    peer_option = "source-ips" if rule.direction == "in" else "destination-ips"
    way = "lets in" if rule.direction == "in" else "lets out"
    options = [f"--direction {rule.direction}", f"--protocol {rule.protocol}"]
    options += [f"--port {rule.port}"] if rule.port else []
    options += [f"--{peer_option} {peer}" for peer in sorted(rule.peers)]
    options += [f"--description {shlex.quote(rule.description)}"] if rule.description else []
    return (
        f"firewall {firewall} {way} {' '.join(filter(None, (rule.protocol, rule.port)))} besides what is described; "
        f"to close it: hcloud firewall delete-rule {' '.join(options)} {firewall}"
    )


def _server_differences(
    description: ClusterDescription, pool: Pool, server: Server, *, is_only_one: bool
) -> Iterator[str]:
    name = server.name
    if server.status == "off":
        yield f"server {name} is off; to start it: hcloud server poweron {name}"
    if server.server_type != pool.server_type:
        yield (
            f"server {name} is a {server.server_type}, described as {pool.server_type}; to change it, one server "
            f"at a time: hcloud server shutdown --wait {name} && hcloud server change-type --keep-disk {name} "
            f"{pool.server_type} && hcloud server poweron {name}"
        )
    if server.location != description.location:
        yield (
            f"server {name} is in {server.location}, described as {description.location}; it cannot be moved; "
            f"{_replacement(server, pool, is_only_one=is_only_one)}"
        )
    if server.image and server.image != description.image:
        yield (
            f"server {name} was made from {server.image}, described as {description.image}; "
            f"{_replacement(server, pool, is_only_one=is_only_one)}"
        )
    missing = {
        key: value
        for key, value in wanted.server_labels(description, pool).items()
        if server.labels.get(key) != value
    }
    if missing:
        texts = " ".join(shlex.quote(f"{key}={value}") for key, value in missing.items())
        yield (
            f"server {name} lacks labels; to give it them: hcloud server add-label --overwrite {name} {texts}"
        )
    if server.placement_group is None:
        group = wanted.group_name(description, pool.name, 1)
        yield (
            f"server {name} is in no placement group; to put it into one: hcloud server shutdown --wait {name} && hcloud "
            f"server add-to-placement-group --placement-group {group} {name} && hcloud server poweron {name}"
        )


def _load_balancer_differences(description: ClusterDescription, balancer: LoadBalancer) -> Iterator[str]:
    name = balancer.name
    if balancer.load_balancer_type != description.load_balancer_type:
        yield (
            f"load balancer {name} is a {balancer.load_balancer_type}, described as "
            f"{description.load_balancer_type}; to change it: "
            f"hcloud load-balancer change-type {name} {description.load_balancer_type}"
        )
    if balancer.is_public != description.is_api_public:
        command = "enable-public-interface" if description.is_api_public else "disable-public-interface"
        yield (
            f"load balancer {name} {'is' if balancer.is_public else 'is not'} public, by api_from it should "
            f"{'' if description.is_api_public else 'not '}be; to change it: hcloud load-balancer {command} {name}"
        )
    for service in balancer.services:
        if service.listen_port == wanted.API_PORT and service != wanted.API_SERVICE:
            check = wanted.API_SERVICE
            yield (
                f"load balancer {name} serves port {wanted.API_PORT} otherwise than described; to change it: "
                f"hcloud load-balancer update-service --listen-port {check.listen_port} --protocol {check.protocol} "
                f"--destination-port {check.destination_port} --health-check-protocol {check.check_protocol} "
                f"--health-check-port {check.check_port} --health-check-http-tls "
                f"--health-check-http-path {check.check_path} --health-check-http-status-codes 200 {name}"
            )
