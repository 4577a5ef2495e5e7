"""What goes with a cluster in a project, what stays, and the order in which it is done."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hcloud import Client
from pyinfra import logger

from kubeadm_deploys.errors import InputError
from kubeadm_deploys.hetzner.client import HetznerError
from kubeadm_deploys.hetzner.names import belongs_to, state_folder
from kubeadm_deploys.hetzner.ownership import Ownership
from kubeadm_deploys.hetzner.project import (
    Address,
    LoadBalancer,
    Named,
    Network,
    Project,
    Server,
    Volume,
)
from kubeadm_deploys.hetzner.project_reading import read_project, read_surroundings
from kubeadm_deploys.hetzner.steps import Pace, Step, run_steps

T = TypeVar("T")

# Phases, after those in which volumes are detached. Load balancers go before the servers, because an interrupted run
# leaves nothing that tells whose a load balancer is once its targets are gone. Last is what is only free when nothing
# uses it and no selector names it.
_BALANCERS, _SERVERS, _USED, _LAST = 1, 2, 3, 4


@dataclass(frozen=True, kw_only=True)
class Detached:
    """Something that stays, but leaves what goes: a volume its server, a load balancer its network."""

    line: str
    """What leaves what, and why it stays."""
    step: Step | None
    """None when deleting the server or load balancer does it."""


@dataclass(frozen=True, kw_only=True)
class Doomed:
    """Everything of a cluster that is to be deleted; and what is not, though it stands in relation to it."""

    cluster_name: str
    project: Project
    volumes: tuple[Volume, ...]
    detached: tuple[Detached, ...] = ()
    kept: tuple[str, ...] = ()
    """What stays as it is, each with the reason."""

    @property
    def lines(self) -> tuple[str, ...]:
        """Each thing to be deleted, with its kind."""
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
        """The whole plan, everything in it once."""
        detached = [one.line for one in self.detached]
        return (
            "To be deleted:",
            *_indented(self.lines or ["(nothing to delete)"]),
            *(("To be detached, and kept:", *_indented(detached)) if detached else ()),
            *(("Kept as it is:", *_indented(self.kept)) if self.kept else ()),
        )


def _origin(balancer: LoadBalancer, cluster_name: str) -> str:
    if belongs_to(balancer.labels, cluster_name):
        return balancer.load_balancer_type
    return f"{balancer.load_balancer_type}, of a Service in the cluster"


def _indented(lines: Sequence[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def read_doomed(client: Client, *, cluster_name: str) -> Doomed:
    """Read what belongs to the cluster, and what is around it.

    Raises:
        HetznerError: the API cannot be read.
    """
    project = read_project(client, cluster_name=cluster_name)
    around = read_surroundings(client)
    return choose_doomed(
        cluster_name=cluster_name,
        project=project,
        servers=around.servers,
        volumes=around.volumes,
        addresses=around.addresses,
    )


def choose_doomed(
    *,
    cluster_name: str,
    project: Project,
    volumes: Sequence[Volume],
    servers: Sequence[Server] = (),
    addresses: Sequence[Address] = (),
) -> Doomed:
    """Choose what goes; ``servers``, ``volumes`` and ``addresses`` are those of the whole project."""
    own = {server.id: server for server in project.servers}
    whose = Ownership(
        cluster_name=cluster_name,
        own=project.servers,
        others=[server for server in servers if server.id not in own],
    )

    def labelled(things: Sequence[Named]) -> list[Named]:
        return [thing for thing in things if belongs_to(thing.labels, cluster_name)]

    networks, kept_networks = _sorted_out(labelled(project.networks), whose.why_network_stays)
    firewalls, kept_firewalls = _sorted_out(labelled(project.firewalls), whose.why_firewall_stays)
    groups, kept_groups = _sorted_out(labelled(project.placement_groups), whose.why_placement_group_stays)
    balancers, other_balancers = _sorted_out(
        project.load_balancers,
        lambda balancer: whose.why_load_balancer_stays(balancer, networks=[one.id for one in networks]),
    )
    going, other_volumes = _sorted_out(volumes, whose.why_volume_stays)
    return Doomed(
        cluster_name=cluster_name,
        project=Project(
            ssh_keys=tuple(labelled(project.ssh_keys)),
            networks=networks,
            firewalls=firewalls,
            placement_groups=groups,
            servers=project.servers,
            load_balancers=balancers,
        ),
        volumes=going,
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
                if whose.concerns_load_balancer(balancer) and not _networks_of(balancer, networks)
            ),
            *(
                f"volume {volume.name} ({volume.size} GB): {reason}"
                for volume, reason in other_volumes
                if whose.concerns_volume(volume) and volume.server not in own
            ),
            *(f"firewall {firewall.name}: {reason}" for firewall, reason in kept_firewalls),
            *(f"placement group {group.name}: {reason}" for group, reason in kept_groups),
        ),
    )


def _sorted_out(
    things: Iterable[T], why_it_stays: Callable[[T], str]
) -> tuple[tuple[T, ...], tuple[tuple[T, str], ...]]:
    """What goes, and what stays with the reason."""
    reasons = [(thing, why_it_stays(thing)) for thing in things]
    return (
        tuple(thing for thing, reason in reasons if not reason),
        tuple((thing, reason) for thing, reason in reasons if reason),
    )


def _volumes_off_servers(
    staying: Sequence[tuple[Volume, str]], servers: Mapping[int, Server]
) -> Iterator[Detached]:
    """One after the other at each server, because the API locks a server whose volume it detaches."""
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
    """Addresses of what goes: the API documents that deleting it leaves them."""
    holders = {("server", server.id): server.name for server in servers}
    holders |= {("load balancer", balancer.id): balancer.name for balancer in balancers}
    for address in addresses:
        if address.holder in holders:
            kind, name = address.holder[0], holders[address.holder]
            yield Detached(
                line=f"{address.kind} {address.name} ({address.ip}) from {kind} {name}: it stays when the {kind} goes",
                step=None,
            )


def refuse_protected(found: Doomed) -> None:
    """Check that nothing of it is protected against deletion.

    Raises:
        InputError: naming each thing that is, and the command that takes the protection off.
    """
    project = found.project
    protected = [
        (kind, thing.name)
        for kind, things in (
            ("server", project.servers),
            ("load-balancer", project.load_balancers),
            ("volume", found.volumes),
            ("network", project.networks),
        )
        for thing in things
        if thing.is_protected
    ]
    if protected:
        raise InputError(
            f"{kind} {name}: is protected against deletion, so nothing was deleted; take the protection off with: "
            f"hcloud {kind} disable-protection {name} delete{' rebuild' if kind == 'server' else ''}"
            for kind, name in protected
        )


def delete_steps(found: Doomed) -> tuple[Step, ...]:
    """The calls that detach what stays and delete what goes, users before what they use."""
    project = found.project
    return (
        *(one.step for one in found.detached if one.step),
        *(
            _delete(_BALANCERS, "load balancer", balancer.name, f"/load_balancers/{balancer.id}")
            for balancer in project.load_balancers
        ),
        *(_delete(_SERVERS, "server", server.name, f"/servers/{server.id}") for server in project.servers),
        # Deleting their servers has detached them.
        *(_delete(_LAST, "volume", volume.name, f"/volumes/{volume.id}") for volume in found.volumes),
        *_firewall_steps(found),
        *(_delete(_LAST, "network", network.name, f"/networks/{network.id}") for network in project.networks),
        *(
            _delete(_LAST, "placement group", group.name, f"/placement_groups/{group.id}")
            for group in project.placement_groups
        ),
        *(_delete(_LAST, "SSH key", key.name, f"/ssh_keys/{key.id}") for key in project.ssh_keys),
    )


def _firewall_steps(found: Doomed) -> Iterator[Step]:
    """A firewall guards its servers until they are gone, and is in use as long as a selector names it."""
    for firewall in found.project.firewalls:
        if firewall.selectors:
            yield Step(
                phase=_USED,
                doing=f"take firewall {firewall.name} off its servers",
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


def refuse_unconfirmed(found: Doomed, *, confirmation: object) -> None:
    """Check that the user has named the cluster; nothing needs no confirmation.

    Raises:
        InputError: saying how to confirm.
    """
    if found.lines and confirmation != found.cluster_name:
        given = "is missing" if confirmation is None else f"{confirmation!r} is not the cluster's name"
        raise InputError(
            [
                f"confirm: {given}, so nothing was deleted; to delete what is listed, add: --data confirm={found.cluster_name}"
            ]
        )


def delete_cluster(
    client: Client, found: Doomed, *, report: Callable[[str], None] = logger.info, pace: Pace | None = None
) -> None:
    """Delete what goes, look again, and forget what is remembered of the cluster.

    Raises:
        HetznerError: the project has changed since; with every step that failed, or with what is there all the same.
    """
    if read_doomed(client, cluster_name=found.cluster_name).plan != found.plan:
        raise HetznerError(
            "the project has changed since this was listed, so nothing was deleted; run this again to see the new list"
        )
    run_steps(client, delete_steps(found), known={}, report=report, pace=pace)
    left = read_doomed(client, cluster_name=found.cluster_name)
    if left.lines:
        raise HetznerError(f"still there: {', '.join(left.lines)}; run this again")
    folder = state_folder(found.cluster_name)
    if folder.exists():
        shutil.rmtree(folder)
    report(f"Nothing of cluster {found.cluster_name} is left{' but what is kept' if left.kept else ''}.")


def _delete(phase: int, kind: str, name: str, path: str) -> Step:
    return Step(
        phase=phase,
        doing=f"delete {kind} {name}",
        path=path,
        method="DELETE",
        done_if=frozenset(["not_found"]),
    )
