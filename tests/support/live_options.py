"""A cluster that has the default options, and what becomes of options that are compared with it."""

import dataclasses
from typing import Any

from kubeadm_deploys.cluster.live_options import Following, follow
from kubeadm_deploys.documents.cluster_record import ClusterRecord
from kubeadm_deploys.facts.cluster_settings import ClusterSettingsState
from kubeadm_deploys.model.findings import Finding, Severity
from kubeadm_deploys.model.options import ClusterOptions
from tests.support.cluster_settings import answer, record, settings_of

SETTINGS = settings_of(answer(record=record()))

BEFORE = dataclasses.replace(SETTINGS, record=ClusterRecord())
"""A cluster that was created before records existed."""

MACHINE = {"containerd": "2.2.3", "runc": "1.4.2", "cni-plugins": "1.8.0"}
"""The releases on a machine, older than the defaults."""

ERROR, WARNING = Severity.ERROR, Severity.WARNING


def following(
    settings: ClusterSettingsState = SETTINGS,
    machines: dict[str, dict[str, str]] | None = None,
    **options: Any,
) -> Following:
    """Return what becomes of options on a cluster, whose machines have these releases."""
    return follow(ClusterOptions(**options), settings=settings, machines=machines or {})


def findings(settings: ClusterSettingsState = SETTINGS, **options: Any) -> tuple[Finding, ...]:
    """Return what is found about options on a cluster."""
    return following(settings, **options).findings


def having(**changes: Any) -> ClusterSettingsState:
    """Return the cluster with other settings."""
    return dataclasses.replace(SETTINGS, **changes)


def recorded(**releases: str) -> ClusterSettingsState:
    """Return the cluster with a record of other releases."""
    return having(record=ClusterRecord(data=record(**releases)))
