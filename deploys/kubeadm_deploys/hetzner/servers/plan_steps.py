"""The API calls that create what is missing."""

from collections.abc import Iterator, Sequence

from kubeadm_deploys.hetzner.api.names import belongs_to, cluster_selector, control_plane_selector
from kubeadm_deploys.hetzner.api.project import Catalogue, Project, own
from kubeadm_deploys.hetzner.api.steps import Ref, Step
from kubeadm_deploys.hetzner.servers import wanted
from kubeadm_deploys.hetzner.servers.description import ClusterDescription, Pool
from kubeadm_deploys.hetzner.servers.orders import NewServer
from kubeadm_deploys.model.nodes import API_PORT

# Phases. Two changes of one resource are never in the same one, because the API locks what it changes. The
# load balancer comes after the servers, because the API refuses private targets outside its network
# (server_not_attached_to_network).
_RULES, _BASE, _SERVERS, _BALANCER, _SERVICES, _TARGETS = range(6)


def plan_steps(
    *,
    description: ClusterDescription,
    public_key: str,
    project: Project,
    new: Sequence[NewServer],
    catalogue: Catalogue | None,
) -> tuple[Step, ...]:
    """Return the calls for missing resources and for missing parts of existing ones."""
    key = wanted.key_of(project, public_key)
    return (
        *_key_steps(description, project, public_key),
        *_network_steps(description, project, catalogue),
        *_firewall_steps(description, project),
        *_group_steps(description, project, new),
        *_server_steps(description, new, key.name if key else description.cluster_name, catalogue),
        *_attach_steps(description, project),
        *_load_balancer_steps(description, project),
    )


def known_ids(description: ClusterDescription, project: Project) -> dict[Ref, int]:
    """Return the IDs of existing resources that steps refer to."""
    known = {
        Ref("placement_group", group.name): group.id
        for group in project.placement_groups
        if belongs_to(group.labels, description.cluster_name)
    }
    if network := own(project.networks, description.cluster_name):
        known[_network_ref(description)] = network.id
    return known


def _network_ref(description: ClusterDescription) -> Ref:
    return Ref("network", description.cluster_name)


def _key_steps(description: ClusterDescription, project: Project, public_key: str) -> Iterator[Step]:
    if wanted.key_of(project, public_key) is None:
        yield Step(
            phase=_BASE,
            doing=f"create SSH key {description.cluster_name}",
            details=description.ssh_key,
            path="/ssh_keys",
            body={
                "name": description.cluster_name,
                "public_key": public_key,
                "labels": wanted.cluster_labels(description),
            },
        )


def _network_steps(
    description: ClusterDescription, project: Project, catalogue: Catalogue | None
) -> Iterator[Step]:
    name = description.cluster_name
    network = own(project.networks, name)
    if catalogue is None or (network and network.subnets):
        return
    zone = catalogue.zones[description.location]
    subnet = {
        "type": "cloud",
        "ip_range": network.ip_range if network else str(description.network),
        "network_zone": zone,
    }
    if network:
        yield Step(
            phase=_BASE,
            doing=f"add a subnet to network {network.name}",
            details=f"{subnet['ip_range']} in {zone}",
            path=f"/networks/{network.id}/actions/add_subnet",
            body=subnet,
        )
    else:
        yield Step(
            phase=_BASE,
            doing=f"create network {name}",
            details=f"{description.network} in {zone}",
            path="/networks",
            body={
                "name": name,
                "ip_range": str(description.network),
                "subnets": [subnet],
                "labels": wanted.cluster_labels(description),
            },
            makes=_network_ref(description),
        )


def _firewall_steps(description: ClusterDescription, project: Project) -> Iterator[Step]:
    name = description.cluster_name
    rules = wanted.firewall_rules(description)
    selector = cluster_selector(name)
    applied = {"type": "label_selector", "label_selector": {"selector": selector}}
    firewall = own(project.firewalls, name)
    if firewall is None:
        yield Step(
            phase=_BASE,
            doing=f"create firewall {name}",
            details=_rules_text(description),
            path="/firewalls",
            body={
                "name": name,
                "rules": [wanted.rule_body(rule) for rule in rules],
                "apply_to": [applied],
                "labels": wanted.cluster_labels(description),
            },
        )
        return
    set_before = {rule for rule in firewall.rules if rule.description.startswith(wanted.RULE_PREFIX)}
    if set_before != set(rules):
        kept = [rule for rule in firewall.rules if rule not in set_before]
        yield Step(
            phase=_RULES,
            doing=f"set the rules of firewall {firewall.name}",
            details=_rules_text(description),
            path=f"/firewalls/{firewall.id}/actions/set_rules",
            body={"rules": [wanted.rule_body(rule) for rule in (*rules, *kept)]},
        )
    if selector not in firewall.selectors:
        yield Step(
            phase=_BASE,
            doing=f"apply firewall {firewall.name}",
            details=f"to servers with the label {selector}",
            path=f"/firewalls/{firewall.id}/actions/apply_to_resources",
            body={"apply_to": [applied]},
            done_if=frozenset(["firewall_already_applied"]),
        )


def _rules_text(description: ClusterDescription) -> str:
    return "; ".join(
        f"{what} from {', '.join(map(str, sources)) if sources else 'nobody'}"
        for what, sources in (
            ("SSH", description.ssh_from),
            ("API", description.api_from),
            ("NodePorts", description.node_ports_from),
        )
    )


def _group_steps(
    description: ClusterDescription, project: Project, new: Sequence[NewServer]
) -> Iterator[Step]:
    existing = {group.name for group in project.placement_groups}
    for group in dict.fromkeys(server.group for server in new):
        if group not in existing:
            yield Step(
                phase=_BASE,
                doing=f"create placement group {group}",
                details="spread",
                path="/placement_groups",
                body={"name": group, "type": "spread", "labels": wanted.cluster_labels(description)},
                makes=Ref("placement_group", group),
            )


def _server_steps(
    description: ClusterDescription,
    new: Sequence[NewServer],
    key: str,
    catalogue: Catalogue | None,
) -> Iterator[Step]:
    for server in new:
        yield Step(
            phase=_SERVERS,
            doing=f"create server {server.name}",
            details=f"{server.pool.server_type}, {description.image}, {description.location}",
            path="/servers",
            body={
                "name": server.name,
                "server_type": server.pool.server_type,
                "image": description.image,
                "location": description.location,
                "ssh_keys": [key],
                "networks": [_network_ref(description)],
                "placement_group": Ref("placement_group", server.group),
                "labels": wanted.server_labels(description, server.pool),
            },
            hint=_alternatives(server.pool, description, catalogue),
        )


def _attach_steps(description: ClusterDescription, project: Project) -> Iterator[Step]:
    network = own(project.networks, description.cluster_name)
    for existing in project.servers:
        if wanted.pool_of(existing, description) and (network is None or network.id not in existing.networks):
            yield Step(
                phase=_SERVERS,
                doing=f"attach server {existing.name} to network {description.cluster_name}",
                path=f"/servers/{existing.id}/actions/attach_to_network",
                body={"network": _network_ref(description)},
                done_if=frozenset(["server_already_attached"]),
            )


def _alternatives(pool: Pool, description: ClusterDescription, catalogue: Catalogue | None) -> str:
    server_type = catalogue.server_types.get(pool.server_type) if catalogue else None
    other_locations = (
        [name for name in server_type.locations if name != description.location] if server_type else []
    )
    return (
        f"try again later, or choose another type, or another location for a new cluster ({pool.server_type} "
        f"is offered in {', '.join(other_locations)})"
        if other_locations
        else "try again later, or choose another type"
    )


def _load_balancer_steps(description: ClusterDescription, project: Project) -> Iterator[Step]:
    if not description.has_load_balancer:
        return
    name = description.cluster_name
    selector = control_plane_selector(name)
    balancer = own(project.load_balancers, name)
    if balancer is None:
        public = "public and private" if description.is_api_public else "private"
        yield Step(
            phase=_BALANCER,
            doing=f"create load balancer {name}",
            details=f"{description.load_balancer_type}, {public}, TCP {API_PORT}",
            path="/load_balancers",
            body={
                "name": name,
                "load_balancer_type": description.load_balancer_type,
                "location": description.location,
                "algorithm": {"type": "round_robin"},
                "network": _network_ref(description),
                "public_interface": description.is_api_public,
                "services": [wanted.service_body(wanted.API_SERVICE)],
                "targets": [wanted.target_body(selector)],
                "labels": wanted.cluster_labels(description),
            },
        )
        return
    path = f"/load_balancers/{balancer.id}/actions"
    network = own(project.networks, name)
    if network is None or network.id not in balancer.networks:
        yield Step(
            phase=_SERVERS,
            doing=f"attach load balancer {balancer.name} to network {name}",
            path=f"{path}/attach_to_network",
            body={"network": _network_ref(description)},
            done_if=frozenset(["load_balancer_already_attached"]),
        )
    if not any(service.listen_port == API_PORT for service in balancer.services):
        yield Step(
            phase=_SERVICES,
            doing=f"add TCP {API_PORT} to load balancer {balancer.name}",
            path=f"{path}/add_service",
            body=wanted.service_body(wanted.API_SERVICE),
            done_if=frozenset(["source_port_already_used"]),
        )
    if selector not in balancer.selectors:
        yield Step(
            phase=_TARGETS,
            doing=f"add the control planes to load balancer {balancer.name}",
            path=f"{path}/add_target",
            body=wanted.target_body(selector),
            done_if=frozenset(["target_already_defined"]),
        )
