"""A simulated cluster: etcd's members, and the objects that its API serves."""

import json
from dataclasses import dataclass, field
from typing import Any

from kubeadm_deploys.model.label_checks import ROLE_PREFIX
from kubeadm_deploys.model.labels_and_taints import CONTROL_PLANE_TAINT, is_taint
from kubeadm_deploys.model.nodes import EXCLUDED_FROM_LOAD_BALANCERS
from tests.simulation import pki

CONTROL_PLANE_MARKS = {
    f"{ROLE_PREFIX}/control-plane": "",
    EXCLUDED_FROM_LOAD_BALANCERS: "",
    CONTROL_PLANE_TAINT: "",
}


KUBE_PROXY_PODS = "kube-proxy pods"
"""Among a cluster's objects: the configuration with which kube-proxy's pods run, if it was ever changed."""

KUBE_PROXY_UNFINISHED = "kube-proxy unfinished"
"""Among a cluster's objects while kube-proxy's pods are replaced: an annotation of its ConfigMap."""


@dataclass(kw_only=True)
class Member:
    """An etcd member; ``name`` is empty until its etcd has started once, and a ``learner`` has no vote."""

    id: int
    name: str
    ip: str
    learner: bool = False


@dataclass(kw_only=True)
class NodeObject:
    """A Node object: its machine, its labels and taints (``marks``), and whether it is cordoned.

    ``kubelet`` and ``containerd`` are the releases that the kubelet has reported.
    """

    machine_id: str
    marks: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    unschedulable: bool = False
    kubelet: str = ""
    containerd: str = ""

    @property
    def labels(self) -> dict[str, str]:
        """The labels among the marks."""
        return {mark: value for mark, value in self.marks.items() if not is_taint(mark)}

    @property
    def taints(self) -> list[dict[str, str]]:
        """The taints among the marks, as in a Node object."""
        return [
            {"key": mark.partition(":")[0], "effect": mark.partition(":")[2], "value": value}
            for mark, value in self.marks.items()
            if is_taint(mark)
        ]


@dataclass(kw_only=True)
class Cluster:
    """A cluster with the CA of the number ``authority``.

    ``objects`` are ConfigMaps and workloads by name, ``tokens`` Secrets of join tokens with their
    description, ``acknowledged`` is the number of a user's acknowledged writes. ``foreign`` is whether it is
    not the operator's, ``given_up`` whether the operator has given it up as a whole, ``revision`` the number
    of writes. ``origin`` is the snapshot from which it was restored. ``etcd_minor`` is the minor release of etcd 3 that
    all members have had: an older one does not run any more.
    """

    number: int
    authority: int
    name: str
    endpoint: str
    members: dict[int, Member] = field(default_factory=dict)
    nodes: dict[str, NodeObject] = field(default_factory=dict)
    objects: dict[str, Any] = field(default_factory=dict)
    tokens: dict[str, tuple[str, str]] = field(default_factory=dict)
    acknowledged: int = 0
    foreign: bool = False
    given_up: bool = False
    revision: int = 0
    origin: str = ""
    etcd_minor: int = 0

    @property
    def ca(self) -> str:
        """The CA certificate."""
        return pki.authority(self.authority).certificate

    @property
    def voters(self) -> list[Member]:
        """The voting members."""
        return [member for member in self.members.values() if not member.learner]

    @property
    def members_json(self) -> str:
        """The members as etcdctl prints them, without empty and false fields."""
        members = [
            {
                "ID": member.id,
                **({"name": member.name} if member.name else {}),
                "peerURLs": [f"https://{member.ip}:2380"],
                **({"isLearner": True} if member.learner else {}),
            }
            for member in self.members.values()
        ]
        return json.dumps({"members": members})

    def node_marks(self) -> list[str]:
        """Return what the reading NodeMarks prints."""
        lines = [
            f"node|{name}|{json.dumps(node.labels)}|{json.dumps(node.taints)}|"
            for name, node in self.nodes.items()
        ]
        record = self.objects.get("kubeadm-deploys")
        return [*lines, *([] if record is None else [f"record|{json.dumps(record)}"])]
