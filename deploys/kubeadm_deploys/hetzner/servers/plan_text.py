"""Format plans for the operator."""

from collections.abc import Iterator
from decimal import Decimal

from kubeadm_deploys.hetzner.api.project import Price
from kubeadm_deploys.hetzner.servers.cost import Cost
from kubeadm_deploys.hetzner.servers.plan import Plan


def plan_lines(plan: Plan) -> Iterator[str]:
    """Yield the lines of a plan."""
    for warning in plan.warnings:
        yield f"Warning: {warning}"
    if plan.steps:
        yield "To do:"
        yield from (f"  + {step.doing}{step.details and f' ({step.details})'}" for step in plan.steps)
    else:
        yield "Nothing to do: everything in the description exists."
    if plan.unmanaged:
        yield "Not in the description (kept):"
        yield from (f"  - {text}" for text in plan.unmanaged)
    if plan.differences:
        yield "Differs from the description (not changed):"
        yield from (f"  ! {text}" for text in plan.differences)
    yield cost_line(plan.cost)


def cost_line(cost: Cost) -> str:
    """Return the monthly cost of the whole cluster, and what this run adds to it."""
    line = f"Cost per month: {_price(cost.now + cost.added, cost.currency)}"
    if cost.added.net:
        line += f", of which this run adds {_price(cost.added, cost.currency)}"
    line += (
        ", for servers with their public IPv4 addresses and the API's load balancer, at today's API prices; "
        "volumes, traffic and what the cluster itself creates are not included"
    )
    if cost.unknown:
        line += f"; the API has no price for {', '.join(cost.unknown)}"
    return f"{line}."


def _price(price: Price, currency: str) -> str:
    return f"{_amount(price.net)} {currency} net ({_amount(price.gross)} gross)"


def _amount(amount: Decimal) -> str:
    return f"{amount:.2f}"
