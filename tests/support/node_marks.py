"""A node, the labels and taints that data gives it, and the steps to them."""

import dataclasses
from typing import Any

from kubeadm_deploys.model.labels_and_taints import Marks, wanted_marks
from kubeadm_deploys.model.nodes import Node
from kubeadm_deploys.sections.node_labels import Placement

NODE = Node(host="host-1", name="node-1", ip="10.0.0.1", address="203.0.113.1")

KUBEADMS_TAINT = "node-role.kubernetes.io/control-plane:NoSchedule"


def wanted(*, control_plane: bool = False, **fields: Any) -> Marks:
    """Return the marks of the node with these fields of its data."""
    return wanted_marks(dataclasses.replace(NODE, **fields), control_plane=control_plane)


def steps(placement: Placement) -> list[list[str]]:
    """Return the steps in order: marks that are recorded, and verbs with their arguments."""
    recorded = [sorted(nodes.get("node-1", ())) for nodes in (placement.claim, placement.final)]
    return [
        *([["record", *recorded[0]]] if placement.claims else []),
        *([change.verb, *change.arguments] for change in placement.changes),
        *([["record", *recorded[1]]] if placement.final != placement.claim else []),
    ]
