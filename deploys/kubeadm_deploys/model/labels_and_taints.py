"""Labels, roles and taints of nodes, called marks as in kubeadm: compare wanted with existing ones.

Marks from other sources stay on a node: the cluster's record says which ones came from the inventory's data.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from kubeadm_deploys.model import label_checks
from kubeadm_deploys.model.nodes import EXCLUDED_FROM_LOAD_BALANCERS, Node, Topology

Marks = Mapping[str, str]
"""Values of labels by key, and of taints by key and effect ("dedicated:NoSchedule"). No label has a colon."""

CONTROL_PLANE_TAINT = f"{label_checks.ROLE_PREFIX}/control-plane:NoSchedule"
"""kubeadm's taint; this package manages it on control planes without a record."""

ANNOTATION = "kubeadm-deploys/placement"
"""Annotation of the Node object in which earlier versions kept a node's record, as a JSON list of marks."""

_KUBERNETES_DOMAINS = ("kubernetes.io", "k8s.io")
"""Matched as suffixes, so that subdomains match, and a few other domains too."""


@dataclass(frozen=True, kw_only=True)
class MarkedNode:
    """The current Node object: all its ``marks``, and the text of its ``annotation``, which may be empty."""

    marks: Marks
    annotation: str = ""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The steps from a node's current marks to the wanted ones, in an order that survives a killed run.

    First record ``claim``: the marks that were or will be ours. Then set the ``changed`` marks and remove the
    ``removed`` ones. Finally record ``record``.
    """

    claim: frozenset[str]
    changed: Marks
    removed: tuple[str, ...]
    record: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class TakeOver:
    """The marks that a node's annotation claims: those to manage from now on, and those to leave alone."""

    believed: frozenset[str] = frozenset()
    doubted: tuple[str, ...] = ()


def wanted_marks(node: Node, *, control_plane: bool) -> Marks:
    """Return the marks that the data set for a node."""
    return {
        **label_checks.node_labels(node.labels),
        **{f"{label_checks.ROLE_PREFIX}/{role}": "" for role in label_checks.node_roles(node.roles)},
        **wanted_taints(node, control_plane=control_plane),
    }


def wanted_taints(node: Node, *, control_plane: bool) -> Marks:
    """Return the taints among a node's wanted marks; without data, those that kubeadm sets."""
    if node.taints is None:
        return {CONTROL_PLANE_TAINT: ""} if control_plane else {}
    return label_checks.node_taints(node.taints)


def takes_traffic(node: Node, topology: Topology) -> bool:
    """Return whether load balancers have to send traffic to a control plane: no worker can take it."""
    return (
        not topology.workers
        and node in topology.control_planes
        and CONTROL_PLANE_TAINT not in wanted_taints(node, control_plane=True)
    )


def difference(
    *,
    found: Marks,
    recorded: frozenset[str],
    wanted: Marks,
    control_plane: bool,
    traffic: bool = False,
) -> Difference:
    """Compare a node with its data. A mark that is neither in the data nor in the record is not ours.

    A control plane that takes ``traffic`` loses kubeadm's label that excludes it. As long as it is without, the
    label is recorded, so that only a label that was removed here is restored when workers join.
    """
    implied = {CONTROL_PLANE_TAINT} if control_plane else set()
    excluded = {EXCLUDED_FROM_LOAD_BALANCERS}
    record = frozenset(wanted.keys() - implied)
    changed = {mark: value for mark, value in wanted.items() if found.get(mark) != value}
    unwanted = (recorded - excluded) | implied
    if traffic:
        unwanted |= excluded
        record |= excluded & (found.keys() | recorded)
    else:
        changed |= dict.fromkeys((recorded & excluded) - found.keys(), "")
    removed = sorted((unwanted & found.keys()) - wanted.keys())
    return Difference(
        claim=recorded | record if changed or removed else record,
        changed=changed,
        removed=tuple(removed),
        record=record,
    )


def take_over(node: MarkedNode, *, known: Collection[str]) -> TakeOver:
    """Decide which marks in a node's old record are ours. ``known`` are the marks in the data of any node.

    A node can write its own annotation, and could thereby make us remove what the administrator has set. A
    label that a node may change itself is believed, because the claim gives the node no new power. A taint or
    role, which it may not change, is believed only if the data still contain it; other labels in Kubernetes'
    domains never are.
    Source: Kubernetes documentation, "Admission Controllers", NodeRestriction.
    """
    claimed = _read(node.annotation) & node.marks.keys()
    believed = frozenset(mark for mark in claimed if _is_believed(mark, known=known))
    return TakeOver(believed=believed, doubted=tuple(sorted(claimed - believed)))


def _is_believed(mark: str, *, known: Collection[str]) -> bool:
    domain = mark.rpartition("/")[0]
    is_role = domain == label_checks.ROLE_PREFIX
    if domain.endswith(_KUBERNETES_DOMAINS) and not is_role:
        return False
    return mark in known if is_taint(mark) or is_role else True


def is_taint(mark: str) -> bool:
    """Return whether a mark is a taint, not a label."""
    return ":" in mark


def taint_argument(mark: str, value: str) -> str:
    """Return a taint as an argument of kubectl."""
    key, _, effect = mark.partition(":")
    return f"{key}={value}:{effect}"


def taint_objects(taints: Iterable[str]) -> list[dict[str, str]]:
    """Return taints in the form of Kubernetes objects."""
    values = label_checks.node_taints(tuple(taints))
    parts = ((mark.partition(":"), value) for mark, value in values.items())
    return [{"key": key, "value": value, "effect": effect} for (key, _, effect), value in parts]


def _read(annotation: str) -> frozenset[str]:
    """Return the marks of an old record. A damaged one has none, so that no mark is removed by mistake."""
    try:
        marks = json.loads(annotation or "[]")
    except (ValueError, RecursionError):
        return frozenset()
    return (
        frozenset(mark for mark in marks if isinstance(mark, str)) if isinstance(marks, list) else frozenset()
    )
