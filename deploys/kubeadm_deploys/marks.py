"""Labels, roles and taints of nodes: which are wanted, which of those that are there are ours, and what differs.

They are called marks here, as kubeadm does. What others put on a node stays: a record on the Node object itself
says which marks came from the inventory's data.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kubeadm_deploys import mark_checks
from kubeadm_deploys.nodes import Node

Marks = Mapping[str, str]
"""Labels by key, and taints by key and effect ("dedicated:NoSchedule"), each with its value. No label has a colon."""

CONTROL_PLANE_TAINT = f"{mark_checks.ROLE_PREFIX}/control-plane:NoSchedule"
"""kubeadm's; on a control plane it is ours without a record."""

RECORD = "kubeadm-deploys/placement"
"""The annotation of a Node that has the record: a JSON list of marks, without their values."""


@dataclass(frozen=True, kw_only=True)
class MarkedNode:
    """A Node object as it is: all its ``marks``, and the text of our ``record``, empty without one."""

    marks: Marks
    record: str = ""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What leads a node to its wanted marks, in this order, so that whoever is killed in between forgets nothing.

    ``claim`` is the record to begin with: what was ours, and what will be. Then the ``changed`` marks get their
    values and the ``removed`` ones go. ``record`` is the one to end with; empty means none.
    """

    claim: str
    changed: Marks
    removed: tuple[str, ...]
    record: str


def wanted_marks(node: Node, *, control_plane: bool) -> Marks:
    """What data say that a node has."""
    return {
        **mark_checks.node_labels(node.labels),
        **{f"{mark_checks.ROLE_PREFIX}/{role}": "" for role in mark_checks.node_roles(node.roles)},
        **wanted_taints(node, control_plane=control_plane),
    }


def wanted_taints(node: Node, *, control_plane: bool) -> Marks:
    """The taints among a node's marks: where data say nothing, those that kubeadm gives."""
    if node.taints is None:
        return {CONTROL_PLANE_TAINT: ""} if control_plane else {}
    return mark_checks.node_taints(node.taints)


def difference(*, found: MarkedNode, wanted: Marks, control_plane: bool) -> Difference:
    """Compare a node with what data say. A mark that neither they nor the record have is somebody else's."""
    implied = {CONTROL_PLANE_TAINT} if control_plane else set()
    ours = _read(found.record)
    recorded = wanted.keys() - implied
    record = _written(recorded)
    changed = {mark: value for mark, value in wanted.items() if found.marks.get(mark) != value}
    removed = sorted(((ours | implied) & found.marks.keys()) - wanted.keys())
    return Difference(
        claim=_written(ours | recorded) if changed or removed else record,
        changed=changed,
        removed=tuple(removed),
        record=record,
    )


def is_taint(mark: str) -> bool:
    """Whether a mark is a taint, and no label."""
    return ":" in mark


def taint_argument(mark: str, value: str) -> str:
    """A taint as kubectl is told it."""
    key, _, effect = mark.partition(":")
    return f"{key}={value}:{effect}"


def taint_objects(taints: Iterable[str]) -> list[dict[str, str]]:
    """Taints as Kubernetes' objects have them."""
    found = mark_checks.node_taints(tuple(taints))
    parts = ((mark.partition(":"), value) for mark, value in found.items())
    return [{"key": key, "value": value, "effect": effect} for (key, _, effect), value in parts]


def _read(record: str) -> frozenset[str]:
    """The marks of a record. One that somebody has spoilt holds none: then too much stays, and nothing is lost."""
    try:
        marks = json.loads(record or "[]")
    except ValueError:
        return frozenset()
    return (
        frozenset(mark for mark in marks if isinstance(mark, str)) if isinstance(marks, list) else frozenset()
    )


def _written(marks: Iterable[str]) -> str:
    ordered = sorted(marks)
    return json.dumps(ordered, separators=(",", ":")) if ordered else ""
