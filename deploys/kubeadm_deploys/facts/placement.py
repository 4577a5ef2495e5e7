"""What sets the nodes of a cluster apart: labels and taints."""

import json

from pyinfra.api import FactBase
from pyinfra.api.command import QuoteString, StringCommand
from typing_extensions import override

from kubeadm_deploys.facts.cluster_health import KUBECTL
from kubeadm_deploys.marks import RECORD, MarkedNode

# kubectl prints maps and lists as JSON in one line, and what is not there as nothing. Only annotations may have a "|".
_JSONPATH = (
    "{range .items[*]}{.metadata.name}|{.metadata.labels}|{.spec.taints}|{.metadata.annotations}"
    + '{"\\n"}{end}'
)


class NodeMarks(FactBase[dict[str, MarkedNode]]):
    """Every Node object by name with its marks, in one command; empty where no API server answers."""

    @override
    def command(self) -> StringCommand:
        return StringCommand(
            f"if command -v kubectl > /dev/null; then {KUBECTL} get nodes --output",
            QuoteString(f"jsonpath={_JSONPATH}"),
            "2> /dev/null; true; fi",
        )

    @override
    def process(self, output: list[str]) -> dict[str, MarkedNode]:
        nodes = {}
        for line in output:
            name, *parts = line.split("|", maxsplit=3)
            labels, taints, annotations = (json.loads(part or "null") or {} for part in parts)
            effects = {f"{taint['key']}:{taint['effect']}": taint.get("value", "") for taint in taints}
            nodes[name] = MarkedNode(marks={**labels, **effects}, record=annotations.get(RECORD, ""))
        return nodes
