"""Find the fields of ``kubelet_configuration`` that a live cluster's kubelets cannot be given in passing. Pure functions."""

from collections.abc import Iterator
from functools import partial

from kubeadm_deploys.cluster.document_fields import changed
from kubeadm_deploys.facts.cluster_settings import ClusterSettingsState
from kubeadm_deploys.model.findings import Finding, Severity
from kubeadm_deploys.model.options import ClusterOptions

NEEDS_DRAIN = frozenset(
    {
        *("cpuManagerPolicy", "cpuManagerPolicyOptions", "memoryManagerPolicy", "reservedMemory"),
        *("topologyManagerPolicy", "topologyManagerPolicyOptions", "topologyManagerScope"),
    }
)
"""Fields with another value of which a kubelet starts only on a drained node, without its old state file."""

_finding = partial(Finding, check="cluster-options", host="")


def findings(options: ClusterOptions, settings: ClusterSettingsState) -> Iterator[Finding]:
    """Yield errors about fields that cannot be changed while pods run on the nodes."""
    if settings.kubelet is None:
        return
    recorded = settings.record.configuration
    values = changed(
        settings.kubelet,
        wanted=options.kubelet_configuration,
        claimed=recorded.kubelet_names if recorded else (),
    )
    for name in values:
        if name.partition("/")[0] in NEEDS_DRAIN:
            yield _finding(
                severity=Severity.ERROR,
                found=(
                    f"kubelet_configuration: {name} differs from the cluster's, and a kubelet takes it only on a "
                    "drained node, which this package does not do yet"
                ),
                fix=(
                    "set it back, or change it by hand, node by node: drain, stop the kubelet, delete "
                    "/var/lib/kubelet/cpu_manager_state and memory_manager_state, start it"
                ),
            )
