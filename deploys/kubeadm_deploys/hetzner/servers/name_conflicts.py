"""Names of the cluster that are taken by resources outside it."""

from collections.abc import Iterator, Sequence

from kubeadm_deploys.hetzner.api.names import CLUSTER_LABEL, belongs_to
from kubeadm_deploys.hetzner.api.project import Catalogue, Named, Project, own
from kubeadm_deploys.hetzner.servers.description import ClusterDescription
from kubeadm_deploys.hetzner.servers.orders import NewServer
from kubeadm_deploys.hetzner.servers.wanted import key_of


def name_conflicts(
    description: ClusterDescription,
    project: Project,
    new: Sequence[NewServer],
    public_key: str,
    catalogue: Catalogue | None,
) -> Iterator[str]:
    """Yield resources with a name of the cluster but without its label: they are neither changed nor used.

    Server names are only known with the catalogue; without it no server is created.
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
            f"hetzner.ssh_key: the project's SSH key {name!r} differs from {description.ssh_key!r}; set the "
            f"file of that key, or delete it with: hcloud ssh-key delete {name} (servers keep their keys)"
        )


def _taken_name(kind: str, resources: Sequence[Named], name: str) -> Iterator[str]:
    if not own(resources, name):
        yield from (_taken(kind, resource.name, name) for resource in resources if resource.name == name)


def _taken(kind: str, name: str, cluster_name: str) -> str:
    return (
        f"cluster_name: {kind} {name!r} already exists without this cluster's label; if it belongs to the "
        f"cluster, label it with: hcloud {kind.replace(' ', '-')} add-label {name} "
        f"{CLUSTER_LABEL}={cluster_name}; otherwise choose another cluster_name"
    )
