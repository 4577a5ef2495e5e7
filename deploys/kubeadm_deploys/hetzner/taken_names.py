"""Names that are taken by something that is not the cluster's."""

from collections.abc import Iterator, Sequence

from kubeadm_deploys.hetzner.description import ClusterDescription
from kubeadm_deploys.hetzner.names import CLUSTER_LABEL, belongs_to
from kubeadm_deploys.hetzner.orders import NewServer
from kubeadm_deploys.hetzner.project import Catalogue, Named, Project, own
from kubeadm_deploys.hetzner.wanted import key_of


def taken_names(
    description: ClusterDescription,
    project: Project,
    new: Sequence[NewServer],
    public_key: str,
    catalogue: Catalogue | None,
) -> Iterator[str]:
    """Things that have the cluster's names and not its label: none of them is touched or built upon.

    What servers are called is only known with the catalogue, without which no server is to be made.
    """
    name = description.cluster_name
    yield from _taken_name("network", project.networks, name)
    yield from _taken_name("firewall", project.firewalls, name)
    if description.has_load_balancer:
        yield from _taken_name("load balancer", project.load_balancers, name)
    groups = {group.name: group for group in project.placement_groups}
    for group in dict.fromkeys(server.group for server in new):
        if group in groups and not belongs_to(groups[group].labels, name):
            yield _taken("placement group", group, name)
    if catalogue:
        for server in new:
            if server.name in catalogue.server_names:
                yield _taken("server", server.name, name)
    if key_of(project, public_key) is None and any(key.name == name for key in project.ssh_keys):
        yield (
            f"hetzner.ssh_key: the project's SSH key {name!r} is another one than {description.ssh_key!r}; name the "
            f"file of that one, or remove it with: hcloud ssh-key delete {name} (servers keep the keys they have)"
        )


def _taken_name(kind: str, things: Sequence[Named], name: str) -> Iterator[str]:
    if not own(things, name):
        yield from (_taken(kind, thing.name, name) for thing in things if thing.name == name)


def _taken(kind: str, thing: str, cluster_name: str) -> str:
    return (
        f"cluster_name: there is a {kind} {thing!r} without this cluster's label; if it is the cluster's, "
        f"give it back with: hcloud {kind.replace(' ', '-')} add-label {thing} {CLUSTER_LABEL}={cluster_name}; "
        "else choose another cluster_name"
    )
