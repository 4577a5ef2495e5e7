"""What belongs to a cluster in a project, and the order in which it can be deleted."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hcloud import Client
from pyinfra import logger

from kubeadm_deploys.errors import InputError
from kubeadm_deploys.hetzner.client import HetznerError
from kubeadm_deploys.hetzner.names import belongs_to, state_folder
from kubeadm_deploys.hetzner.project import Labels, Project, Volume
from kubeadm_deploys.hetzner.project_reading import read_project, read_volumes
from kubeadm_deploys.hetzner.steps import Pace, Step, run_steps

CLOUD_CONTROLLER_LABEL = "hcloud-ccm/service-uid"
"""On the load balancers that Hetzner's cloud controller makes for Services."""

# Phases: what uses the rest, then what was used, then what is only free when no selector names it.
_USERS, _USED, _LAST = 1, 2, 3


@dataclass(frozen=True, kw_only=True)
class Doomed:
    """Everything of a cluster; volumes and load balancers that it made by itself included."""

    cluster_name: str
    project: Project
    volumes: tuple[Volume, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """Each thing with its kind."""
        project = self.project
        return (
            *(f"server {server.name} ({server.server_type})" for server in project.servers),
            *(
                f"load balancer {balancer.name} ({_origin(balancer.labels, self.cluster_name)})"
                for balancer in project.load_balancers
            ),
            *(
                f"volume {volume.name} ({volume.size} GB, with its data, {_origin(volume.labels, self.cluster_name)})"
                for volume in self.volumes
            ),
            *(f"network {network.name} ({network.ip_range})" for network in project.networks),
            *(f"firewall {firewall.name}" for firewall in project.firewalls),
            *(f"placement group {group.name}" for group in project.placement_groups),
            *(f"SSH key {key.name}" for key in project.ssh_keys),
        )


def _origin(labels: Labels, cluster_name: str) -> str:
    return "labelled" if belongs_to(labels, cluster_name) else "made by the cluster"


def read_doomed(client: Client, *, cluster_name: str) -> Doomed:
    """Read what belongs to the cluster.

    Raises:
        HetznerError: the API cannot be read.
    """
    project = read_project(client, cluster_name=cluster_name)
    return choose_doomed(cluster_name=cluster_name, project=project, volumes=read_volumes(client))


def choose_doomed(*, cluster_name: str, project: Project, volumes: Sequence[Volume]) -> Doomed:
    """Choose by label; volumes also by the server they are attached to, load balancers by the network."""
    networks = tuple(network for network in project.networks if belongs_to(network.labels, cluster_name))
    servers = {server.id for server in project.servers}
    return Doomed(
        cluster_name=cluster_name,
        project=Project(
            ssh_keys=tuple(key for key in project.ssh_keys if belongs_to(key.labels, cluster_name)),
            networks=networks,
            firewalls=tuple(
                firewall for firewall in project.firewalls if belongs_to(firewall.labels, cluster_name)
            ),
            placement_groups=tuple(
                group for group in project.placement_groups if belongs_to(group.labels, cluster_name)
            ),
            servers=project.servers,
            load_balancers=tuple(
                balancer
                for balancer in project.load_balancers
                if belongs_to(balancer.labels, cluster_name)
                or not {network.id for network in networks}.isdisjoint(balancer.networks)
                or (CLOUD_CONTROLLER_LABEL in balancer.labels and not servers.isdisjoint(balancer.servers))
            ),
        ),
        volumes=tuple(
            volume
            for volume in volumes
            if belongs_to(volume.labels, cluster_name) or volume.server in servers
        ),
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
    """The calls that delete it, users before what they use."""
    project = found.project
    return (
        *(_delete(_USERS, "server", server.name, f"/servers/{server.id}") for server in project.servers),
        *(
            _delete(_USERS, "load balancer", balancer.name, f"/load_balancers/{balancer.id}")
            for balancer in project.load_balancers
        ),
        *(_volume_steps(found)),
        *(_firewall_steps(found)),
        *(_delete(_LAST, "network", network.name, f"/networks/{network.id}") for network in project.networks),
        *(
            _delete(_LAST, "placement group", group.name, f"/placement_groups/{group.id}")
            for group in project.placement_groups
        ),
        *(_delete(_LAST, "SSH key", key.name, f"/ssh_keys/{key.id}") for key in project.ssh_keys),
    )


def _volume_steps(found: Doomed) -> Iterator[Step]:
    """Volumes lose their servers with these; those of other servers are detached first."""
    own = {server.id for server in found.project.servers}
    for volume in found.volumes:
        if volume.server is not None and volume.server not in own:
            yield Step(
                phase=_USED,
                doing=f"detach volume {volume.name}",
                path=f"/volumes/{volume.id}/actions/detach",
            )
        yield _delete(_LAST, "volume", volume.name, f"/volumes/{volume.id}")


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
    if found.lines and str(confirmation) != found.cluster_name:
        given = "is missing" if confirmation is None else f"{confirmation!r} is not the cluster's name"
        raise InputError(
            [
                f"confirm: {given}, so nothing was deleted; to delete what is listed, add: --data confirm={found.cluster_name}"
            ]
        )


def delete_cluster(
    client: Client, found: Doomed, *, report: Callable[[str], None] = logger.info, pace: Pace | None = None
) -> None:
    """Delete it all, look again, and forget what is remembered of the cluster.

    Raises:
        HetznerError: with every step that failed, or with what is there all the same.
    """
    run_steps(client, delete_steps(found), known={}, report=report, pace=pace)
    left = read_doomed(client, cluster_name=found.cluster_name)
    if left.lines:
        raise HetznerError(f"still there: {', '.join(left.lines)}; run this again")
    folder = state_folder(found.cluster_name)
    if folder.exists():
        shutil.rmtree(folder)
    report(f"Nothing of cluster {found.cluster_name} is left.")


def _delete(phase: int, kind: str, name: str, path: str) -> Step:
    return Step(
        phase=phase,
        doing=f"delete {kind} {name}",
        path=path,
        method="DELETE",
        done_if=frozenset(["not_found"]),
    )
