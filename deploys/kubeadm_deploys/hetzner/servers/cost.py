"""Monthly cost of a cluster, at the API's own prices."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from kubeadm_deploys.hetzner.api.names import belongs_to
from kubeadm_deploys.hetzner.api.project import NOTHING, Price, Prices, Project
from kubeadm_deploys.hetzner.servers.description import ClusterDescription
from kubeadm_deploys.hetzner.servers.orders import NewServer


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Monthly prices of existing and of added resources, and the names of those without a price."""

    currency: str
    now: Price
    added: Price
    unknown: tuple[str, ...]


def monthly_cost(
    *, description: ClusterDescription, project: Project, new: Sequence[NewServer], prices: Prices
) -> Cost:
    """Add up servers, their public IPv4 addresses and the API's load balancer."""
    label = description.cluster_name
    balancers = [balancer for balancer in project.load_balancers if belongs_to(balancer.labels, label)]
    unknown: list[str] = []
    now = _sum(
        [
            *(
                price
                for server in project.servers
                for price in _server_prices(
                    prices,
                    server.server_type,
                    server.location,
                    has_public_ipv4=server.has_public_ipv4,
                    unknown=unknown,
                )
            ),
            *(
                _price_or_nothing(
                    prices.load_balancer_types.get((balancer.load_balancer_type, balancer.location)),
                    balancer.load_balancer_type,
                    unknown,
                )
                for balancer in balancers
            ),
        ]
    )
    added = [
        price
        for server in new
        for price in _server_prices(
            prices, server.pool.server_type, description.location, has_public_ipv4=True, unknown=unknown
        )
    ]
    if description.has_load_balancer and not balancers:
        kind = description.load_balancer_type
        added.append(
            _price_or_nothing(prices.load_balancer_types.get((kind, description.location)), kind, unknown)
        )
    return Cost(currency=prices.currency, now=now, added=_sum(added), unknown=tuple(dict.fromkeys(unknown)))


def _server_prices(
    prices: Prices, server_type: str, location: str, *, has_public_ipv4: bool, unknown: list[str]
) -> Iterator[Price]:
    yield _price_or_nothing(prices.server_types.get((server_type, location)), server_type, unknown)
    if has_public_ipv4:
        yield _price_or_nothing(prices.public_ipv4.get(location), "public IPv4", unknown)


def _price_or_nothing(price: Price | None, what: str, unknown: list[str]) -> Price:
    if price is None:
        unknown.append(what)
    return price or NOTHING


def _sum(prices: Iterable[Price]) -> Price:
    return sum(prices, start=NOTHING)
