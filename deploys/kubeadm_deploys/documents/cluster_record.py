"""The cluster's record of what this package has done: a ConfigMap in kube-system, which nodes cannot write.

It contains the releases of the cluster's components, except Kubernetes, the labels and taints of its nodes that
came from the inventory's data, the fields of its configuration that came from ``cluster_configuration``, and the
releases of an upgrade that has not ended.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from kubeadm_deploys.model import checks

NAME = "kubeadm-deploys"
NAMESPACE = "kube-system"

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RecordedConfiguration:
    """The ``names`` of the fields that came from the options (see ``live_configuration.names_of``).

    ``pending`` are the ClusterConfigurations that runs began to give the control planes, until one of the runs ends: a
    control plane may have any of them. ``kubelet_names`` and ``kubelet_pending`` are the same of the kubelets'
    configuration. ``kube_proxy`` are the values that came from the options by their field's path, and
    ``kube_proxy_pending`` the configurations that the ConfigMap kube-proxy may have.
    """

    names: frozenset[str] = frozenset()
    pending: tuple[Mapping[str, Any], ...] = ()
    kubelet_names: frozenset[str] = frozenset()
    kubelet_pending: tuple[Mapping[str, Any], ...] = ()
    kube_proxy: Mapping[str, Any] = field(default_factory=dict)
    kube_proxy_pending: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True)
class ClusterRecord:
    """The ConfigMap's stored ``data``, empty if there is no ConfigMap.

    A damaged key counts as not recorded. Keys and components from other releases of this package are kept.
    """

    data: Mapping[str, str] = field(default_factory=dict)

    @property
    def releases(self) -> Mapping[str, str] | None:
        """The cluster's releases by component, like containerd; None if not recorded."""
        return self._parsed("releases", _releases)

    @property
    def nodes(self) -> Mapping[str, frozenset[str]] | None:
        """The marks (see ``labels_and_taints``) that this package has set, by node; None if not recorded."""
        return self._parsed("nodes", _nodes)

    @property
    def configuration(self) -> "RecordedConfiguration | None":
        """The fields of the ClusterConfiguration that this package has set; None if not recorded."""
        return self._parsed("configuration", _configuration)

    @property
    def upgrade(self) -> Mapping[str, str] | None:
        """The releases by component to which an upgrade has begun and not ended; None without one.

        Empty if they cannot be parsed: the upgrade still has not ended.
        """
        return (self._parsed("upgrade", _releases) or {}) if "upgrade" in self.data else None

    @property
    def damaged(self) -> tuple[str, ...]:
        """The keys that exist but cannot be parsed."""
        parsed = {"releases": self.releases, "nodes": self.nodes, "configuration": self.configuration}
        return tuple(key for key, value in parsed.items() if value is None and key in self.data)

    def with_releases(self, releases: Mapping[str, str]) -> "ClusterRecord":
        """Return the record with these releases; releases of other components are kept."""
        text = json.dumps({**(self.releases or {}), **releases}, sort_keys=True)
        return replace(self, data={**self.data, "releases": text})

    def with_upgrade(self, releases: Mapping[str, str] | None) -> "ClusterRecord":
        """Return the record of a cluster whose upgrade to these releases begins, or with None has ended."""
        kept = {key: text for key, text in self.data.items() if key != "upgrade"}
        begun = {} if releases is None else {"upgrade": json.dumps(dict(releases), sort_keys=True)}
        return replace(self, data={**kept, **begun})

    def with_nodes(self, nodes: Mapping[str, Collection[str]]) -> "ClusterRecord":
        """Return the record with the marks of these nodes only."""
        text = json.dumps({name: sorted(marks) for name, marks in nodes.items() if marks}, sort_keys=True)
        return replace(self, data={**self.data, "nodes": text})

    def with_configuration(self, configuration: "RecordedConfiguration") -> "ClusterRecord":
        """Return the record with these fields of the ClusterConfiguration."""
        fields = {
            "names": sorted(configuration.names),
            "pending": configuration.pending,
            "kubelet_names": sorted(configuration.kubelet_names),
            "kubelet_pending": configuration.kubelet_pending,
            "kube_proxy": dict(configuration.kube_proxy),
            "kube_proxy_pending": configuration.kube_proxy_pending,
        }
        return replace(self, data={**self.data, "configuration": json.dumps(fields, sort_keys=True)})

    def manifest(self) -> str:
        """Return the manifest of the ConfigMap."""
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": NAME, "namespace": NAMESPACE},
                "data": dict(self.data),
            }
        )

    def _parsed(self, key: str, parse: Callable[[object], T]) -> T | None:
        try:
            return parse(json.loads(self.data[key])) if key in self.data else None
        except (ValueError, RecursionError):
            return None


def _releases(value: object) -> Mapping[str, str]:
    return {component: checks.version(release) for component, release in _mapping(value).items()}


def _nodes(value: object) -> Mapping[str, frozenset[str]]:
    nodes = {}
    for name, marks in _mapping(value).items():
        if not isinstance(marks, list) or not all(isinstance(mark, str) for mark in marks):
            raise ValueError("is not a list of texts")
        nodes[name] = frozenset(marks)
    return nodes


def _configuration(value: object) -> RecordedConfiguration:
    found = _mapping(value)
    return RecordedConfiguration(
        names=_names(found.get("names")),
        pending=_pending(found.get("pending") or []),
        kubelet_names=_names(found.get("kubelet_names", [])),
        kubelet_pending=_pending(found.get("kubelet_pending") or []),
        kube_proxy=_mapping(found.get("kube_proxy") or {}),
        kube_proxy_pending=_pending(found.get("kube_proxy_pending") or []),
    )


def _names(value: object) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError("is not a list of texts")
    return frozenset(value)


def _pending(value: object) -> tuple[Mapping[str, object], ...]:
    if not isinstance(value, list):
        raise ValueError("is not a list")
    return tuple(_mapping(each) for each in value)


def _mapping(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError("is not a mapping")
    return value
