"""Choose the fields that a live cluster's kubelets get, and find those that they take only on a drained node. Pure functions."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from kubeadm_deploys.cluster.document_fields import changed
from kubeadm_deploys.documents.cluster_record import RecordedConfiguration
from kubeadm_deploys.documents.kubeadm_documents import RESOLVER_FILE
from kubeadm_deploys.facts.cluster_members import RegisteredNode
from kubeadm_deploys.facts.cluster_settings import ClusterSettingsState
from kubeadm_deploys.model.errors import some
from kubeadm_deploys.model.findings import Finding, Severity
from kubeadm_deploys.model.options import ClusterOptions

NEEDS_DRAIN = frozenset(
    {
        *("cpuManagerPolicy", "cpuManagerPolicyOptions", "memoryManagerPolicy", "reservedMemory"),
        *("topologyManagerPolicy", "topologyManagerPolicyOptions", "topologyManagerScope"),
    }
)
"""Fields with another value of which a kubelet starts only on a drained node, without its old state file."""

ALLOW_DRAIN = "--data allow_drain=true"

_DRAINS = "this run drains one node after the other"
_STAYS = f"without {ALLOW_DRAIN} all kubelets stay as they are"

_finding = partial(Finding, check="cluster-options", host="")


def wanted_fields(options: ClusterOptions, recorded: RecordedConfiguration) -> Mapping[str, Any]:
    """Return the fields that the options want: ``kubelet_configuration``, and the resolver file for ``nameservers``.

    A cluster that was made without our resolver file keeps its own, until the options have ``nameservers``. Kubelets that
    this package gave another file get ours back.
    """
    ours = options.nameservers or "resolvConf" in recorded.kubelet_names
    return {**({"resolvConf": RESOLVER_FILE} if ours else {}), **options.kubelet_configuration}


def needs_drain(names: Iterable[str]) -> list[str]:
    """Return those of the fields that a kubelet takes only on a drained node."""
    return [name for name in names if name.partition("/")[0] in NEEDS_DRAIN]


def not_ready(names: Iterable[str], nodes: Mapping[str, RegisteredNode]) -> list[str]:
    """Return those of the nodes that are not Ready, none if no node at all is: then the pod network may be missing."""
    if not any(node.ready for node in nodes.values()):
        return []
    return [name for name in names if name in nodes and not nodes[name].ready]


def findings(
    options: ClusterOptions, settings: ClusterSettingsState, *, allow_drain: bool
) -> Iterator[Finding]:
    """Yield a warning about fields that are changed only on drained nodes, and so only with ``allow_drain``."""
    if settings.kubelet is None:
        return
    recorded = settings.record.configuration or RecordedConfiguration()
    values = changed(
        settings.kubelet, wanted=wanted_fields(options, recorded), claimed=recorded.kubelet_names
    )
    if names := needs_drain(values):
        yield _finding(
            severity=Severity.WARNING,
            found=(
                f"kubelet_configuration: {some(names)} differs from the cluster's, and a kubelet takes it only on a "
                f"drained node; {_DRAINS if allow_drain else _STAYS}"
            ),
            fix=(
                f"none needed; to drain no node, leave {ALLOW_DRAIN} out"
                if allow_drain
                else f"run cluster.py with {ALLOW_DRAIN}, which drains one node after the other, or set it back"
            ),
        )
