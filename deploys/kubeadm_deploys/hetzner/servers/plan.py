"""Compare a description with its project and plan the changes; pure, so a plan can be printed first."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kubeadm_deploys.hetzner.api.names import belongs_to
from kubeadm_deploys.hetzner.api.project import Catalogue, Prices, Project, own
from kubeadm_deploys.hetzner.api.steps import Ref, Step
from kubeadm_deploys.hetzner.servers import wanted
from kubeadm_deploys.hetzner.servers.cost import Cost, monthly_cost
from kubeadm_deploys.hetzner.servers.description import ClusterDescription, Pool
from kubeadm_deploys.hetzner.servers.differences import differences, unmanaged
from kubeadm_deploys.hetzner.servers.name_conflicts import name_conflicts
from kubeadm_deploys.hetzner.servers.orders import NewServer, order_problems, order_warnings
from kubeadm_deploys.hetzner.servers.plan_steps import known_ids, plan_steps
from kubeadm_deploys.model.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will do, and what it only reports."""

    cluster_name: str
    steps: tuple[Step, ...]
    known: Mapping[Ref, int]
    differences: tuple[str, ...]
    unmanaged: tuple[str, ...]
    warnings: tuple[str, ...]
    cost: Cost


def needs_catalogue(description: ClusterDescription, project: Project) -> bool:
    """Return whether something must be ordered, which needs the catalogue."""
    name = description.cluster_name
    network = own(project.networks, name)
    return bool(
        network is None
        or not network.subnets
        or (description.has_load_balancer and not own(project.load_balancers, name))
        or new_servers(description, project)
    )


def new_servers(description: ClusterDescription, project: Project) -> tuple[NewServer, ...]:
    """Return the missing servers, each with a placement group that has room for it."""
    members = wanted.members(project.servers, description)
    new = []
    for pool in description.pools:
        names = wanted.free_names(description, pool, project.servers)
        groups = _free_places(description, pool, project)
        for _ in range(pool.count - len(members[pool.name])):
            new.append(NewServer(name=next(names), pool=pool, group=next(groups)))
    return tuple(new)


def _free_places(description: ClusterDescription, pool: Pool, project: Project) -> Iterator[str]:
    """Yield the names of a pool's placement groups, each once per free place."""
    filled = {
        group.name: len(group.servers)
        for group in project.placement_groups
        if belongs_to(group.labels, description.cluster_name)
    }
    number = 0
    while True:
        number += 1
        group = wanted.group_name(description, pool.name, number)
        yield from [group] * (wanted.GROUP_SIZE - filled.get(group, 0))


def make_plan(
    *,
    description: ClusterDescription,
    public_key: str,
    project: Project,
    prices: Prices,
    catalogue: Catalogue | None,
) -> Plan:
    """Plan the changes; ``catalogue`` may be None when nothing must be ordered.

    Raises:
        InputError: with everything that cannot be ordered or whose name is taken.
    """
    new = new_servers(description, project)
    problems = list(name_conflicts(description, project, new, public_key, catalogue))
    warnings = list(description.warnings())
    if catalogue:
        problems.extend(
            order_problems(
                description=description, new=new, catalogue=catalogue, project=project, prices=prices
            )
        )
    if problems:
        raise InputError(problems)
    if catalogue:
        warnings.extend(order_warnings(description=description, new=new, catalogue=catalogue))
    return Plan(
        cluster_name=description.cluster_name,
        steps=plan_steps(
            description=description, public_key=public_key, project=project, new=new, catalogue=catalogue
        ),
        known=known_ids(description, project),
        differences=tuple(differences(description, project)),
        unmanaged=tuple(unmanaged(description, project)),
        warnings=tuple(warnings),
        cost=monthly_cost(description=description, project=project, new=new, prices=prices),
    )
