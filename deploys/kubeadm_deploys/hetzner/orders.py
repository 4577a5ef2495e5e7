"""Whether what is missing can be ordered: checked before anything is written."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from kubeadm_deploys.hetzner.description import ClusterDescription, Pool
from kubeadm_deploys.hetzner.names import CONTROL_PLANE
from kubeadm_deploys.hetzner.project import Catalogue, Prices, Project, own


@dataclass(frozen=True, kw_only=True)
class NewServer:
    """A server that is to be made."""

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
    """What the API would refuse: unknown names, types that the location has not, zones that do not fit."""
    if description.location not in catalogue.zones:
        cure = _choose(description.location, catalogue.zones)
        yield f"hetzner.location: {description.location!r} is not a location; {cure}"
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
                f"hetzner.location: {description.location!r} is in the zone {zone}, the cluster's subnet {subnet} "
                f"in {subnet_zone}; choose a location of {subnet_zone}"
            )


def _type_problems(description: ClusterDescription, pool: Pool, catalogue: Catalogue) -> Iterator[str]:
    field = "control_plane" if pool.role == CONTROL_PLANE else f"worker_pools.{pool.name}"
    server_type = catalogue.server_types.get(pool.server_type)
    there = [name for name, kind in catalogue.server_types.items() if description.location in kind.locations]
    if server_type is None:
        yield f"hetzner.{field}.type: {pool.server_type!r} is not a server type; {_choose(pool.server_type, there)}"
    elif description.location not in server_type.locations:
        elsewhere = ", ".join(server_type.locations) or "no location"
        yield (
            f"hetzner.{field}.type: {pool.server_type!r} cannot be had in {description.location} now, "
            f"but in {elsewhere}; in {description.location} choose {', '.join(there) or 'nothing, it has none'}"
        )


def order_warnings(
    *, description: ClusterDescription, new: Sequence[NewServer], catalogue: Catalogue
) -> Iterator[str]:
    """What can be ordered still."""
    for name in dict.fromkeys(server.pool.server_type for server in new):
        if day := catalogue.server_types[name].leaving.get(description.location):
            yield f"{name} can be ordered in {description.location} until {day} only; choose a newer type"


def _image_problems(
    description: ClusterDescription, pools: Iterable[Pool], catalogue: Catalogue
) -> Iterator[str]:
    if description.image.isdigit():
        # The id of a snapshot, which has no name to look for.
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
                f"hetzner.image: {description.image!r} does not exist for {server_type.architecture}, which "
                f"{pool.server_type} of pool {pool.name} is; choose another image or type"
            )


def _load_balancer_problems(description: ClusterDescription, prices: Prices) -> Iterator[str]:
    there = sorted(name for name, place in prices.load_balancer_types if place == description.location)
    if description.load_balancer_type not in there:
        yield (
            f"hetzner.load_balancer_type: {description.load_balancer_type!r} cannot be had in "
            f"{description.location}; {_choose(description.load_balancer_type, there)}"
        )


def _choose(wrong: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(wrong, names, n=1)
    choice = f"choose one of {', '.join(names)}" if names else "there is none"
    return f"did you mean {close[0]}? Else {choice}" if close else choice
