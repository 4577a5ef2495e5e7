"""From the description and what is there to what is to be done; pure, so that it can be printed first."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kubeadm_deploys.errors import InputError
from kubeadm_deploys.hetzner import wanted
from kubeadm_deploys.hetzner.cost import Cost, monthly_cost
from kubeadm_deploys.hetzner.description import ClusterDescription, Pool
from kubeadm_deploys.hetzner.differences import differences, surplus
from kubeadm_deploys.hetzner.names import belongs_to
from kubeadm_deploys.hetzner.orders import NewServer, order_problems, order_warnings
from kubeadm_deploys.hetzner.plan_steps import known_ids, plan_steps
from kubeadm_deploys.hetzner.project import Catalogue, Prices, Project, own
from kubeadm_deploys.hetzner.steps import Ref, Step
from kubeadm_deploys.hetzner.taken_names import taken_names


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will do, and what it will not do but tell."""

    cluster_name: str
    steps: tuple[Step, ...]
    known: Mapping[Ref, int]
    differences: tuple[str, ...]
    surplus: tuple[str, ...]
    warnings: tuple[str, ...]
    cost: Cost


def needs_catalogue(description: ClusterDescription, project: Project) -> bool:
    """Whether something must be ordered, so that it must be known what can be."""
    name = description.cluster_name
    network = own(project.networks, name)
    return bool(
        network is None
        or not network.subnets
        or (description.has_load_balancer and not own(project.load_balancers, name))
        or new_servers(description, project)
    )


def new_servers(description: ClusterDescription, project: Project) -> tuple[NewServer, ...]:
    """The servers that are missing, each with the placement group that has room for it."""
    members = wanted.members(project.servers, description)
    new = []
    for pool in description.pools:
        names = wanted.free_names(description, pool, project.servers)
        groups = _rooms(description, pool, project)
        for _ in range(pool.count - len(members[pool.name])):
            new.append(NewServer(name=next(names), pool=pool, group=next(groups)))
    return tuple(new)


def _rooms(description: ClusterDescription, pool: Pool, project: Project) -> Iterator[str]:
    """The names of a pool's placement groups, each as often as it has room."""
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
    """Compare; ``catalogue`` may be missing when nothing has to be ordered.

    Raises:
        InputError: with everything that could not be ordered or whose name is taken.
    """
    new = new_servers(description, project)
    problems = list(taken_names(description, project, new, public_key, catalogue))
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
        surplus=tuple(surplus(description, project)),
        warnings=tuple(warnings),
        cost=monthly_cost(description=description, project=project, new=new, prices=prices),
    )
