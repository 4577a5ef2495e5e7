"""Check that missing resources can be ordered, before anything is written."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from kubeadm_deploys.hetzner.api.names import CONTROL_PLANE
from kubeadm_deploys.hetzner.api.project import Catalogue, Prices, Project, own
from kubeadm_deploys.hetzner.servers.description import ClusterDescription, Pool
from kubeadm_deploys.model.errors import meant


@dataclass(frozen=True, kw_only=True)
class NewServer:
    """A server to create."""

    name: str
    pool: Pool
    group: str


def order_problems(
    *,
    description: ClusterDescription,
    new: Sequence[NewServer],
    catalogue: Catalogue,
    project: Project,
    prices: Prices,
) -> Iterator[str]:
    """Yield what the API would refuse: unknown names, types not offered in the location, other zones."""
    if description.location not in catalogue.zones:
        fix = _choose(description.location, catalogue.zones)
        yield f"hetzner.location: {description.location!r} is not a location; {fix}"
        return
    yield from _zone_problems(description, project, catalogue)
    pools = {server.pool.name: server.pool for server in new}
    for pool in pools.values():
        yield from _type_problems(description, pool, catalogue)
    if new:
        yield from _image_problems(description, pools.values(), catalogue)
    if description.has_load_balancer:
        yield from _load_balancer_problems(description, prices)


def _zone_problems(description: ClusterDescription, project: Project, catalogue: Catalogue) -> Iterator[str]:
    network = own(project.networks, description.cluster_name)
    zone = catalogue.zones[description.location]
    for subnet, subnet_zone in network.subnets if network else ():
        if subnet_zone != zone:
            yield (
                f"hetzner.location: {description.location!r} is in zone {zone}, but the cluster's subnet "
                f"{subnet} is in {subnet_zone}; choose a location in {subnet_zone}"
            )


def _type_problems(description: ClusterDescription, pool: Pool, catalogue: Catalogue) -> Iterator[str]:
    field = "control_plane" if pool.role == CONTROL_PLANE else f"worker_pools.{pool.name}"
    server_type = catalogue.server_types.get(pool.server_type)
    offered = [
        name for name, kind in catalogue.server_types.items() if description.location in kind.locations
    ]
    if server_type is None:
        fix = _choose(pool.server_type, offered)
        yield f"hetzner.{field}.type: {pool.server_type!r} is not a server type; {fix}"
    elif description.location not in server_type.locations:
        elsewhere = (
            f"only in {', '.join(server_type.locations)}" if server_type.locations else "nor elsewhere"
        )
        yield (
            f"hetzner.{field}.type: {pool.server_type!r} is not available in {description.location} now, "
            f"{elsewhere}; in {description.location} choose "
            f"{', '.join(offered) or 'nothing, it offers no type'}"
        )


def order_warnings(
    *, description: ClusterDescription, new: Sequence[NewServer], catalogue: Catalogue
) -> Iterator[str]:
    """Yield the types that can only be ordered until an announced day."""
    for name in dict.fromkeys(server.pool.server_type for server in new):
        if day := catalogue.server_types[name].leaving.get(description.location):
            yield f"{name} can only be ordered in {description.location} until {day}; choose a newer type"


def _image_problems(
    description: ClusterDescription, pools: Iterable[Pool], catalogue: Catalogue
) -> Iterator[str]:
    if description.image.isdigit():
        # The ID of a snapshot, which has no name to look up.
        return
    if not catalogue.image_architectures:
        yield (
            f"hetzner.image: {description.image!r} is not an image; choose one of "
            "`hcloud image list --type system`, like debian-13"
        )
        return
    for pool in pools:
        server_type = catalogue.server_types.get(pool.server_type)
        if server_type and server_type.architecture not in catalogue.image_architectures:
            yield (
                f"hetzner.image: {description.image!r} does not exist for {server_type.architecture}, the "
                f"architecture of {pool.server_type} in pool {pool.name}; choose another image or type"
            )


def _load_balancer_problems(description: ClusterDescription, prices: Prices) -> Iterator[str]:
    offered = sorted(name for name, place in prices.load_balancer_types if place == description.location)
    if description.load_balancer_type not in offered:
        yield (
            f"hetzner.load_balancer_type: {description.load_balancer_type!r} is not available in "
            f"{description.location}; {_choose(description.load_balancer_type, offered)}"
        )


def _choose(wrong: str, known: Iterable[str]) -> str:
    names = list(known)
    choice = f"choose one of {', '.join(names)}" if names else "none is available"
    fix = meant(wrong, names, otherwise=choice)
    return fix if fix == choice else f"{fix} Otherwise {choice}"
