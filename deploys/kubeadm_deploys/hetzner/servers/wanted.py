"""A description in Hetzner's terms: names, labels, firewall rules, the load balancer's service."""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kubeadm_deploys.hetzner.api.names import CLUSTER_LABEL, POOL_LABEL, ROLE_LABEL
from kubeadm_deploys.hetzner.api.project import Project, Rule, Server, Service, SshKey
from kubeadm_deploys.hetzner.servers.description import ClusterDescription, Pool, Source, server_name
from kubeadm_deploys.model.nodes import API_PORT

RULE_PREFIX = "kubeadm-deploys: "
"""Prefix of the descriptions of managed firewall rules; other rules are left alone."""

GROUP_SIZE = 10
"""Servers per spread placement group (Hetzner's limit)."""


API_SERVICE = Service(
    protocol="tcp",
    listen_port=API_PORT,
    destination_port=API_PORT,
    check_protocol="http",
    check_port=API_PORT,
    check_tls=True,
    check_path="/readyz",
)
"""The API servers behind the load balancer: TLS is passed through, health comes from /readyz."""


def cluster_labels(description: ClusterDescription) -> dict[str, str]:
    """Return the labels of every resource of the cluster."""
    return {CLUSTER_LABEL: description.cluster_name}


def server_labels(description: ClusterDescription, pool: Pool) -> dict[str, str]:
    """Return the labels of a pool's servers."""
    return {**pool.labels, **cluster_labels(description), ROLE_LABEL: pool.role, POOL_LABEL: pool.name}


def fingerprint(public_key: str) -> str:
    """Return a public key's fingerprint in the API's form: the MD5 of the binary key."""
    blob = base64.b64decode(public_key.split()[1])
    return hashlib.md5(blob, usedforsecurity=False).digest().hex(":")


def key_of(project: Project, public_key: str) -> SshKey | None:
    """Return the project's key with this fingerprint, whatever its name: the API refuses duplicate keys."""
    wanted = fingerprint(public_key)
    return next((key for key in project.ssh_keys if key.fingerprint == wanted), None)


def firewall_rules(description: ClusterDescription) -> tuple[Rule, ...]:
    """Return the rules for incoming traffic: SSH, the API, ICMP from the sources of both, and NodePorts."""
    rules = [
        _rule("SSH", "tcp", "22", description.ssh_from),
        _rule("Kubernetes API", "tcp", str(API_PORT), description.api_from),
        *(
            _rule("ICMP", "icmp", "", sources)
            for sources in dict.fromkeys([description.ssh_from, description.api_from])
        ),
        _rule("NodePorts over TCP", "tcp", "30000-32767", description.node_ports_from),
        _rule("NodePorts over UDP", "udp", "30000-32767", description.node_ports_from),
    ]
    return tuple(rule for rule in rules if rule.peers)


def _rule(description: str, protocol: str, port: str, sources: tuple[Source, ...]) -> Rule:
    return Rule(
        description=RULE_PREFIX + description,
        protocol=protocol,
        port=port,
        peers=frozenset(map(str, sources)),
    )


def rule_body(rule: Rule) -> dict[str, Any]:
    """Return a rule in the API's form."""
    body: dict[str, Any] = {
        "direction": rule.direction,
        "protocol": rule.protocol,
        "source_ips" if rule.direction == "in" else "destination_ips": sorted(rule.peers),
    }
    if rule.port:
        body["port"] = rule.port
    if rule.description:
        body["description"] = rule.description
    return body


def service_body(service: Service) -> dict[str, Any]:
    """Return a load balancer's service in the API's form."""
    return {
        "protocol": service.protocol,
        "listen_port": service.listen_port,
        "destination_port": service.destination_port,
        "proxyprotocol": False,
        "health_check": {
            "protocol": service.check_protocol,
            "port": service.check_port,
            "interval": 5,
            "timeout": 3,
            "retries": 3,
            "http": {
                "domain": None,
                "path": service.check_path,
                "status_codes": ["200"],
                "tls": service.check_tls,
            },
        },
    }


def target_body(selector: str) -> dict[str, Any]:
    """Return a load balancer's target: servers by label, reached by their private addresses."""
    return {"type": "label_selector", "label_selector": {"selector": selector}, "use_private_ip": True}


def group_name(description: ClusterDescription, pool: str, number: int) -> str:
    """Return the name of a pool's placement group."""
    return f"{description.cluster_name}-{pool}-{number}"


def pool_of(server: Server, description: ClusterDescription) -> Pool | None:
    """Return the pool of a server by its label, or by its name if the label is missing."""
    for pool in description.pools:
        if server.labels.get(POOL_LABEL) == pool.name:
            return pool
    if POOL_LABEL in server.labels:
        return None
    return next((pool for pool in description.pools if _number(server.name, description, pool)), None)


def members(servers: tuple[Server, ...], description: ClusterDescription) -> Mapping[str, tuple[Server, ...]]:
    """Return the servers of each pool, sorted by number."""
    by_pool: dict[str, list[Server]] = {pool.name: [] for pool in description.pools}
    for server in servers:
        if pool := pool_of(server, description):
            by_pool[pool.name].append(server)
    return {
        pool.name: tuple(
            sorted(
                by_pool[pool.name], key=lambda server: (_number(server.name, description, pool), server.name)
            )
        )
        for pool in description.pools
    }


def _number(name: str, description: ClusterDescription, pool: Pool) -> int:
    """Return the number at the end of a server's name; 0 if the name does not have the pool's form."""
    match = re.fullmatch(rf"{re.escape(description.cluster_name)}-{re.escape(pool.name)}-(\d+)", name)
    return int(match[1]) if match else 0


def free_names(description: ClusterDescription, pool: Pool, servers: tuple[Server, ...]) -> Iterator[str]:
    """Yield unused names for new servers of a pool, lowest numbers first."""
    taken = {server.name for server in servers}
    number = 0
    while True:
        number += 1
        name = server_name(cluster_name=description.cluster_name, pool=pool.name, number=number)
        if name not in taken:
            yield name
