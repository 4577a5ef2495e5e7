"""Delete a cluster: what is deleted, what is kept, and in which order."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pyinfra import logger

from kubeadm_deploys.hetzner.api.client import Client, HetznerError
from kubeadm_deploys.hetzner.api.names import belongs_to, state_folder
from kubeadm_deploys.hetzner.api.project import Address, LoadBalancer, Named, Network, Project, Server, Volume
from kubeadm_deploys.hetzner.api.project_reading import read_project, read_surroundings
from kubeadm_deploys.hetzner.api.steps import RetryPolicy, Step, run_steps
from kubeadm_deploys.hetzner.servers.ownership import Ownership
from kubeadm_deploys.model.errors import InputError

T = TypeVar("T")

# Phases, after those that detach volumes. Load balancers go before the servers: if a run is interrupted after
# their targets are deleted, the next one cannot tell which cluster they belong to. Last are resources that
# can only be deleted when nothing uses them and no selector refers to them.
_BALANCERS, _SERVERS, _USED, _LAST = 1, 2, 3, 4


@dataclass(frozen=True, kw_only=True)
class Detached:
    """A kept resource to detach from a deleted one, such as a volume from a server."""

    line: str
    """What is detached from what, and why it is kept."""
    step: Step | None
    """None when deleting the server or load balancer detaches it."""


@dataclass(frozen=True, kw_only=True)
class DeletionPlan:
    """Everything of a cluster to delete, and related resources to keep."""

    cluster_name: str
    project: Project
    volumes: tuple[Volume, ...]
    detached: tuple[Detached, ...] = ()
    kept: tuple[str, ...] = ()
    """Resources that are not changed, each with the reason."""

    @property
    def lines(self) -> tuple[str, ...]:
        """Each resource to delete, with its kind."""
        project = self.project
        return (
            *(f"server {server.name} ({server.server_type})" for server in project.servers),
            *(
                f"load balancer {balancer.name} ({_origin(balancer, self.cluster_name)})"
                for balancer in project.load_balancers
            ),
            *(f"volume {volume.name} ({volume.size} GB, with its data)" for volume in self.volumes),
            *(f"network {network.name} ({network.ip_range})" for network in project.networks),
            *(f"firewall {firewall.name}" for firewall in project.firewalls),
            *(f"placement group {group.name}" for group in project.placement_groups),
            *(f"SSH key {key.name}" for key in project.ssh_keys),
        )

    @property
    def plan(self) -> tuple[str, ...]:
        """The whole plan; each resource is in it once."""
        detached = [detachment.line for detachment in self.detached]
        return (
            "To be deleted:",
            *_indented(self.lines or ["(nothing to delete)"]),
            *(("To be detached and kept:", *_indented(detached)) if detached else ()),
            *(("Kept unchanged:", *_indented(self.kept)) if self.kept else ()),
        )


def _origin(balancer: LoadBalancer, cluster_name: str) -> str:
    if belongs_to(balancer.labels, cluster_name):
        return balancer.load_balancer_type
    return f"{balancer.load_balancer_type}, of a Service in the cluster"


def _indented(lines: Sequence[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def read_deletion_plan(client: Client, *, cluster_name: str) -> DeletionPlan:
    """Read the cluster's resources and the other resources in its project.

    Raises:
        HetznerError: the API cannot be read.
    """
    project = read_project(client, cluster_name=cluster_name)
    surroundings = read_surroundings(client)
    return plan_deletion(
        cluster_name=cluster_name,
        project=project,
        servers=surroundings.servers,
        volumes=surroundings.volumes,
        addresses=surroundings.addresses,
    )


def plan_deletion(
    *,
    cluster_name: str,
    project: Project,
    volumes: Sequence[Volume],
    servers: Sequence[Server] = (),
    addresses: Sequence[Address] = (),
) -> DeletionPlan:
    """Choose what to delete; ``servers``, ``volumes`` and ``addresses`` are those of the whole project."""
    own = {server.id: server for server in project.servers}
    ownership = Ownership(
        cluster_name=cluster_name,
        own=project.servers,
        others=[server for server in servers if server.id not in own],
    )

    def labelled(resources: Sequence[Named]) -> list[Named]:
        return [resource for resource in resources if belongs_to(resource.labels, cluster_name)]

    networks, kept_networks = _split(labelled(project.networks), ownership.why_network_stays)
    firewalls, kept_firewalls = _split(labelled(project.firewalls), ownership.why_firewall_stays)
    groups, kept_groups = _split(labelled(project.placement_groups), ownership.why_placement_group_stays)
    balancers, other_balancers = _split(
        project.load_balancers,
        lambda balancer: ownership.why_load_balancer_stays(
            balancer, networks=[network.id for network in networks]
        ),
    )
    deleted_volumes, other_volumes = _split(volumes, ownership.why_volume_stays)
    return DeletionPlan(
        cluster_name=cluster_name,
        project=Project(
            ssh_keys=tuple(labelled(project.ssh_keys)),
            networks=networks,
            firewalls=firewalls,
            placement_groups=groups,
            servers=project.servers,
            load_balancers=balancers,
        ),
        volumes=deleted_volumes,
        detached=(
            *_volumes_off_servers(other_volumes, own),
            *_balancers_off_networks(other_balancers, networks),
            *_released(addresses, project.servers, balancers),
        ),
        kept=(
            *(f"network {network.name} ({network.ip_range}): {reason}" for network, reason in kept_networks),
            *(
                f"load balancer {balancer.name}: {reason}"
                for balancer, reason in other_balancers
                if ownership.concerns_load_balancer(balancer) and not _networks_of(balancer, networks)
            ),
            *(
                f"volume {volume.name} ({volume.size} GB): {reason}"
                for volume, reason in other_volumes
                if ownership.concerns_volume(volume) and volume.server not in own
            ),
            *(f"firewall {firewall.name}: {reason}" for firewall, reason in kept_firewalls),
            *(f"placement group {group.name}: {reason}" for group, reason in kept_groups),
        ),
    )


def _split(
    resources: Iterable[T], why_it_stays: Callable[[T], str]
) -> tuple[tuple[T, ...], tuple[tuple[T, str], ...]]:
    """Return what to delete, and what stays with the reason."""
    reasons = [(resource, why_it_stays(resource)) for resource in resources]
    return (
        tuple(resource for resource, reason in reasons if not reason),
        tuple((resource, reason) for resource, reason in reasons if reason),
    )


def _volumes_off_servers(
    staying: Sequence[tuple[Volume, str]], servers: Mapping[int, Server]
) -> Iterator[Detached]:
    """Detach volumes of the same server one by one, because the API locks the server meanwhile."""
    turns: Counter[int] = Counter()
    for volume, reason in staying:
        if volume.server is not None and volume.server in servers:
            server = servers[volume.server]
            yield Detached(
                line=f"volume {volume.name} ({volume.size} GB) from server {server.name}: {reason}",
                step=Step(
                    phase=-turns[server.id],
                    doing=f"detach volume {volume.name}",
                    path=f"/volumes/{volume.id}/actions/detach",
                    done_if=frozenset(["not_found"]),
                ),
            )
            turns[server.id] += 1


def _balancers_off_networks(
    staying: Sequence[tuple[LoadBalancer, str]], networks: Sequence[Network]
) -> Iterator[Detached]:
    for balancer, reason in staying:
        for network in _networks_of(balancer, networks):
            yield Detached(
                line=f"load balancer {balancer.name} from network {network.name}: {reason}",
                step=Step(
                    phase=_USED,
                    doing=f"detach load balancer {balancer.name} from network {network.name}",
                    path=f"/load_balancers/{balancer.id}/actions/detach_from_network",
                    body={"network": network.id},
                    done_if=frozenset(["not_found", "load_balancer_not_attached_to_network"]),
                ),
            )


def _networks_of(balancer: LoadBalancer, networks: Sequence[Network]) -> list[Network]:
    return [network for network in networks if network.id in balancer.networks]


def _released(
    addresses: Sequence[Address], servers: Sequence[Server], balancers: Sequence[LoadBalancer]
) -> Iterator[Detached]:
    """Yield addresses of deleted resources: the API documents that they outlive them."""
    holders = {("server", server.id): server.name for server in servers}
    holders |= {("load balancer", balancer.id): balancer.name for balancer in balancers}
    for address in addresses:
        if address.holder in holders:
            kind, name = address.holder[0], holders[address.holder]
            yield Detached(
                line=(
                    f"{address.kind} {address.name} ({address.ip}) from {kind} {name}: "
                    f"it stays when the {kind} is deleted"
                ),
                step=None,
            )


def refuse_protected(deletion: DeletionPlan) -> None:
    """Check that nothing to delete is protected against deletion.

    Raises:
        InputError: with each protected resource and the command that removes the protection.
    """
    project = deletion.project
    protected = [
        (kind, resource.name)
        for kind, resources in (
            ("server", project.servers),
            ("load-balancer", project.load_balancers),
            ("volume", deletion.volumes),
            ("network", project.networks),
        )
        for resource in resources
        if resource.is_protected
    ]
    if protected:
        raise InputError(
            f"{kind} {name}: is protected against deletion, so nothing was deleted; remove the protection "
            f"with: hcloud {kind} disable-protection {name} delete{' rebuild' if kind == 'server' else ''}"
            for kind, name in protected
        )


def delete_steps(deletion: DeletionPlan) -> tuple[Step, ...]:
    """Return the calls that detach what stays and delete the rest, users before what they use."""
    project = deletion.project
    return (
        *(detachment.step for detachment in deletion.detached if detachment.step),
        *(
            _delete(_BALANCERS, "load balancer", balancer.name, f"/load_balancers/{balancer.id}")
            for balancer in project.load_balancers
        ),
        *(_delete(_SERVERS, "server", server.name, f"/servers/{server.id}") for server in project.servers),
        # Deleting the servers has detached them.
        *(_delete(_LAST, "volume", volume.name, f"/volumes/{volume.id}") for volume in deletion.volumes),
        *_firewall_steps(deletion),
        *(_delete(_LAST, "network", network.name, f"/networks/{network.id}") for network in project.networks),
        *(
            _delete(_LAST, "placement group", group.name, f"/placement_groups/{group.id}")
            for group in project.placement_groups
        ),
        *(_delete(_LAST, "SSH key", key.name, f"/ssh_keys/{key.id}") for key in project.ssh_keys),
    )


def _firewall_steps(deletion: DeletionPlan) -> Iterator[Step]:
    """Keep firewalls until their servers are deleted; one is in use while it has a label selector."""
    for firewall in deletion.project.firewalls:
        if firewall.selectors:
            yield Step(
                phase=_USED,
                doing=f"remove firewall {firewall.name} from its servers",
                path=f"/firewalls/{firewall.id}/actions/remove_from_resources",
                body={
                    "remove_from": [
                        {"type": "label_selector", "label_selector": {"selector": selector}}
                        for selector in firewall.selectors
                    ]
                },
                done_if=frozenset(["firewall_resource_not_found", "not_found"]),
            )
        yield _delete(_LAST, "firewall", firewall.name, f"/firewalls/{firewall.id}")


def refuse_unconfirmed(deletion: DeletionPlan, *, confirmation: object) -> None:
    """Check that the user confirmed with the cluster's name; an empty plan needs no confirmation.

    Raises:
        InputError: with the option that confirms.
    """
    if deletion.lines and confirmation != deletion.cluster_name:
        given = "is missing" if confirmation is None else f"{confirmation!r} is not the cluster's name"
        raise InputError(
            [
                f"confirm: {given}, so nothing was deleted; to delete what is listed, "
                f"add: --data confirm={deletion.cluster_name}"
            ]
        )


def delete_cluster(
    client: Client,
    deletion: DeletionPlan,
    *,
    report: Callable[[str], None] = logger.info,
    retry_policy: RetryPolicy | None = None,
) -> None:
    """Carry out the plan, verify that nothing is left, and remove the cluster's local state.

    Raises:
        HetznerError: the project has changed since it was listed, a step failed, or something is left.
    """
    if read_deletion_plan(client, cluster_name=deletion.cluster_name).plan != deletion.plan:
        raise HetznerError(
            "the project has changed since this was listed, so nothing was deleted; "
            "run this again to see the new list"
        )
    run_steps(client, delete_steps(deletion), known={}, report=report, retry_policy=retry_policy)
    left = read_deletion_plan(client, cluster_name=deletion.cluster_name)
    if left.lines:
        raise HetznerError(f"not deleted: {', '.join(left.lines)}; run this again")
    folder = state_folder(deletion.cluster_name)
    if folder.exists():
        shutil.rmtree(folder)
    report(
        f"Nothing of cluster {deletion.cluster_name} is left{' except what is kept' if left.kept else ''}."
    )


def _delete(phase: int, kind: str, name: str, path: str) -> Step:
    return Step(
        phase=phase,
        doing=f"delete {kind} {name}",
        path=path,
        method="DELETE",
        done_if=frozenset(["not_found"]),
    )
