"""How plans are told to the user."""

from collections.abc import Iterator
from decimal import Decimal

from kubeadm_deploys.hetzner.cost import Cost
from kubeadm_deploys.hetzner.plan import Plan
from kubeadm_deploys.hetzner.project import Price


def plan_lines(plan: Plan) -> Iterator[str]:
    """The plan, a line each."""
    for warning in plan.warnings:
        yield f"Warning: {warning}"
    if plan.steps:
        yield "To do:"
        yield from (f"  + {step.doing}{step.details and f' ({step.details})'}" for step in plan.steps)
    else:
        yield "Nothing to do: everything that is described is there."
    if plan.surplus:
        yield "More than described, and left alone:"
        yield from (f"  - {text}" for text in plan.surplus)
    if plan.differences:
        yield "Otherwise than described, and left alone:"
        yield from (f"  ! {text}" for text in plan.differences)
    yield cost_line(plan.cost)


def cost_line(cost: Cost) -> str:
    """The price of the whole cluster a month, and what this run adds to it."""
    line = f"Cost a month: {_price(cost.now + cost.added, cost.currency)}"
    if cost.added.net:
        line += f", of which this run adds {_price(cost.added, cost.currency)}"
    line += (
        ", for servers with their public IPv4 addresses and the API's load balancer at the prices that the API "
        "names today; volumes, traffic and what the cluster itself makes are not counted"
    )
    if cost.unknown:
        line += f"; the API names no price for {', '.join(cost.unknown)}"
    return f"{line}."


def _price(price: Price, currency: str) -> str:
    return f"{_amount(price.net)} {currency} net ({_amount(price.gross)} gross)"


def _amount(amount: Decimal) -> str:
    return f"{amount:.2f}"
