"""What sets the nodes of a cluster apart: labels and taints, and which of them are ours."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from pyinfra.api.command import QuoteString, StringCommand
from typing_extensions import override

from kubeadm_deploys import cluster_record
from kubeadm_deploys.cluster_record import ClusterRecord
from kubeadm_deploys.facts.answers import ClusterFact
from kubeadm_deploys.facts.cluster_health import KUBECTL
from kubeadm_deploys.marks import ANNOTATION, MarkedNode

# kubectl prints maps and lists as JSON in one line, and what is not there as nothing. Only annotations may have a "|".
_NODES = (
    "{range .items[*]}node|{.metadata.name}|{.metadata.labels}|{.spec.taints}|{.metadata.annotations}"
    + '{"\\n"}{end}'
)
_RECORD = 'record|{.data}{"\\n"}'


@dataclass(frozen=True, kw_only=True)
class NodeMarksState:
    """Every Node object by name with its marks, and the cluster's record."""

    nodes: Mapping[str, MarkedNode] = field(default_factory=dict)
    record: ClusterRecord = field(default_factory=ClusterRecord)


class NodeMarks(ClusterFact[NodeMarksState]):
    """Both, read on a control plane in one command; None where they could not be read."""

    @override
    def command(self) -> StringCommand:
        return StringCommand(
            f"{KUBECTL} get nodes --output",
            QuoteString(f"jsonpath={_NODES}"),
            f"&& {KUBECTL} --namespace {cluster_record.NAMESPACE} get configmap {cluster_record.NAME} "
            "--ignore-not-found --output",
            QuoteString(f"jsonpath={_RECORD}"),
        )

    @override
    def process(self, output: list[str]) -> NodeMarksState:
        nodes, record = {}, ClusterRecord()
        for line in output:
            kind, _, rest = line.partition("|")
            if kind == "node":
                name, *parts = rest.split("|", maxsplit=3)
                labels, taints, annotations = (json.loads(part or "null") or {} for part in parts)
                effects = {f"{taint['key']}:{taint['effect']}": taint.get("value", "") for taint in taints}
                nodes[name] = MarkedNode(
                    marks={**labels, **effects}, annotation=annotations.get(ANNOTATION, "")
                )
            elif kind == "record":
                record = ClusterRecord(data=json.loads(rest or "null") or {})
        return NodeMarksState(nodes=nodes, record=record)
