"""Labels, roles and taints of nodes: which are wanted, which of those that are there are ours, and what differs.

They are called marks here, as kubeadm does. What others put on a node stays: the cluster's record says which marks came
from the inventory's data.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from kubeadm_deploys import mark_checks
from kubeadm_deploys.nodes import Node

Marks = Mapping[str, str]
"""Labels by key, and taints by key and effect ("dedicated:NoSchedule"), each with its value. No label has a colon."""

CONTROL_PLANE_TAINT = f"{mark_checks.ROLE_PREFIX}/control-plane:NoSchedule"
"""kubeadm's; on a control plane it is ours without a record."""

ANNOTATION = "kubeadm-deploys/placement"
"""Where the record of a node was before the cluster kept it: on the Node object, as a JSON list of marks."""

_KUBERNETES_DOMAINS = ("kubernetes.io", "k8s.io")
"""With everything below them, and a few that only look like it."""


@dataclass(frozen=True, kw_only=True)
class MarkedNode:
    """A Node object as it is: all its ``marks``, and the text of our ``annotation``, empty without one."""

    marks: Marks
    annotation: str = ""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What leads a node to its wanted marks, in this order, so that whoever is killed in between forgets nothing.

    ``claim`` are the marks to be recorded first: what was ours, and what will be. Then the ``changed`` marks get their
    values and the ``removed`` ones go. ``record`` are those to be recorded in the end.
    """

    claim: frozenset[str]
    changed: Marks
    removed: tuple[str, ...]
    record: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class TakeOver:
    """Marks of a node that its annotation claims: those that are ours from now on, and those that are left alone."""

    believed: frozenset[str] = frozenset()
    doubted: tuple[str, ...] = ()


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


def difference(*, found: Marks, recorded: frozenset[str], wanted: Marks, control_plane: bool) -> Difference:
    """Compare a node with what data say. A mark that neither they nor the record have is somebody else's."""
    implied = {CONTROL_PLANE_TAINT} if control_plane else set()
    record = frozenset(wanted.keys() - implied)
    changed = {mark: value for mark, value in wanted.items() if found.get(mark) != value}
    removed = sorted(((recorded | implied) & found.keys()) - wanted.keys())
    return Difference(
        claim=recorded | record if changed or removed else record,
        changed=changed,
        removed=tuple(removed),
        record=record,
    )


def take_over(node: MarkedNode, *, known: Collection[str]) -> TakeOver:
    """Decide which marks of an old record are ours. ``known`` are those that data give any node today.

    A node can write its own annotation, and ours would then take off what the administrator has put on it. So a label
    that a node may change by itself is believed: to claim it gives it no power. A taint or a role, which it may not
    change, is believed only if data still know it; other labels of Kubernetes' domains never.
    Source: Kubernetes documentation, "Admission Controllers", NodeRestriction.
    """
    claimed = _read(node.annotation) & node.marks.keys()
    believed = frozenset(mark for mark in claimed if _is_believed(mark, known=known))
    return TakeOver(believed=believed, doubted=tuple(sorted(claimed - believed)))


def _is_believed(mark: str, *, known: Collection[str]) -> bool:
    domain = mark.rpartition("/")[0]
    is_role = domain == mark_checks.ROLE_PREFIX
    if domain.endswith(_KUBERNETES_DOMAINS) and not is_role:
        return False
    return mark in known if is_taint(mark) or is_role else True


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


def _read(annotation: str) -> frozenset[str]:
    """The marks of an old record. One that somebody has spoilt holds none: then too much stays, and nothing is lost."""
    try:
        marks = json.loads(annotation or "[]")
    except (ValueError, RecursionError):
        return frozenset()
    return (
        frozenset(mark for mark in marks if isinstance(mark, str)) if isinstance(marks, list) else frozenset()
    )
