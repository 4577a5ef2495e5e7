"""Choose which steps of a planned upgrade are made, and which of them at the same time."""

from collections.abc import Collection
from dataclasses import replace

from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.lifecycle.upgrade_plan import Plan, Step
from kubeadm_deploys.model.errors import some
from kubeadm_deploys.model.nodes import Node


def limited(plan: Plan, nodes: Collection[Node]) -> Plan:
    """Return the part of a plan for these nodes; add-ons and the end wait until no node is left out.

    Raises:
        DeployError: a control plane with steps, or a node that is to become Ready again, is left out; these have to come
            first.
    """
    left_out = [step for step in plan.steps if step.node not in nodes]
    if not left_out:
        return plan
    if planes := dict.fromkeys(step.node.name for step in left_out if step.control_plane):
        raise DeployError(
            f"{some(list(planes))}: not upgraded yet and left out, but all control planes are upgraded before any worker; no "
            "changes were made; run it without --limit, or with --data only=control_plane first"
        )
    steps = tuple(step for step in plan.steps if step.node in nodes)
    unhealed = sorted(plan.heals.intersection(step.node.name for step in left_out))
    if unhealed and any(step.node.name not in plan.heals for step in steps):
        raise DeployError(
            f"{some(unhealed)}: not Ready, because an upgrade has begun and not ended there, and left out, but such nodes "
            "come before all others; no changes were made; run it without --limit and only=control_plane"
        )
    return replace(
        plan,
        steps=steps,
        add_ons=(),
        begins=plan.begins and bool(steps),
        ends=False,
        left_out=tuple(dict.fromkeys(step.node.name for step in left_out)),
    )


def batches(steps: Collection[Step], *, workers_at_once: int) -> list[tuple[Step, ...]]:
    """Return steps in order, grouped into those that are made at the same time: up to so many workers, else one."""
    made: list[tuple[Step, ...]] = []
    for step in steps:
        joins = made and not step.control_plane and not made[-1][0].control_plane
        if joins and len(made[-1]) < workers_at_once:
            made[-1] = (*made[-1], step)
        else:
            made.append((step,))
    return made


def crowded(plan: Plan, *, workers_at_once: int) -> str:
    """Return why too few nodes would be left for the pods of workers that are drained together, empty if they are not."""
    for batch in batches(plan.steps, workers_at_once=workers_at_once):
        drained = {step.node.name for step in batch if step.drain}
        if len(drained) > 1 and not plan.places - drained:
            places = len(plan.places)
            return (
                f"workers_at_once is {workers_at_once}, but {places} nodes take ordinary pods, and one of them has to "
                f"take those of the drained ones; set it to at most {max(1, places - 1)}"
            )
    return ""
