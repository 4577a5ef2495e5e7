"""The record that a cluster keeps of what this package did in it: a ConfigMap of kube-system.

Nodes cannot write there. The record says which releases the cluster has, beside Kubernetes' own, and which labels and
taints of its nodes came from the inventory's data.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from kubeadm_deploys import checks

NAME = "kubeadm-deploys"
NAMESPACE = "kube-system"

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ClusterRecord:
    """The ConfigMap's ``data`` as they are stored, without any where there is none.

    What is damaged counts as not recorded. Keys and components that another release of this package has written stay.
    """

    data: Mapping[str, str] = field(default_factory=dict)

    @property
    def releases(self) -> Mapping[str, str] | None:
        """By component, like containerd, the release that the cluster has; None when that is not recorded."""
        return self._parsed("releases", _releases)

    @property
    def nodes(self) -> Mapping[str, frozenset[str]] | None:
        """By name of a node, the marks (see ``marks``) that we set; None when that is not recorded."""
        return self._parsed("nodes", _nodes)

    @property
    def damaged(self) -> tuple[str, ...]:
        """Keys that are there and cannot be understood."""
        parsed = {"releases": self.releases, "nodes": self.nodes}
        return tuple(key for key, value in parsed.items() if value is None and key in self.data)

    def with_releases(self, releases: Mapping[str, str]) -> "ClusterRecord":
        """The same record with these releases, and those of components that only it knows."""
        text = json.dumps({**(self.releases or {}), **releases}, sort_keys=True)
        return replace(self, data={**self.data, "releases": text})

    def with_nodes(self, nodes: Mapping[str, Collection[str]]) -> "ClusterRecord":
        """The same record with the marks of these nodes and of no others."""
        text = json.dumps({name: sorted(marks) for name, marks in nodes.items() if marks}, sort_keys=True)
        return replace(self, data={**self.data, "nodes": text})

    def manifest(self) -> str:
        """The ConfigMap, as kubectl reads it."""
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


def _mapping(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError("is not a mapping")
    return value
