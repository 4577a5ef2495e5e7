"""A pretend cluster: etcd's members, and the objects that its API serves."""

import json
from dataclasses import dataclass, field
from typing import Any

from kubeadm_deploys.mark_checks import ROLE_PREFIX
from kubeadm_deploys.marks import CONTROL_PLANE_TAINT, is_taint
from kubeadm_deploys.nodes import EXCLUDED_FROM_LOAD_BALANCERS
from tests.simulation import pki

CONTROL_PLANE_MARKS = {
    f"{ROLE_PREFIX}/control-plane": "",
    EXCLUDED_FROM_LOAD_BALANCERS: "",
    CONTROL_PLANE_TAINT: "",
}


@dataclass(kw_only=True)
class Member:
    """A member of etcd; its ``name`` is empty until its etcd has started once, and a ``learner`` has no vote."""

    id: int
    name: str
    ip: str
    learner: bool = False


@dataclass(kw_only=True)
class NodeObject:
    """A Node object: the machine that its kubelet runs on, and what people and kubeadm put on it."""

    machine_id: str
    marks: dict[str, str] = field(default_factory=dict)
    unschedulable: bool = False

    @property
    def labels(self) -> dict[str, str]:
        """The marks that are labels."""
        return {mark: value for mark, value in self.marks.items() if not is_taint(mark)}

    @property
    def taints(self) -> list[dict[str, str]]:
        """The marks that are taints, as objects have them."""
        return [
            {"key": mark.partition(":")[0], "effect": mark.partition(":")[2], "value": value}
            for mark, value in self.marks.items()
            if is_taint(mark)
        ]


@dataclass(kw_only=True)
class Cluster:
    """A cluster by its ``number``, with the CA of the number ``authority``. ``objects`` are ConfigMaps and workloads by name,
    ``tokens`` are Secrets of join tokens with their description, ``acknowledged`` is how many writes of a user were.

    ``foreign`` is whether it is none of ours, ``given_up`` whether the operator has given it up as a whole,
    ``revision`` how often anything was written.
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

    @property
    def ca(self) -> str:
        """Its CA certificate."""
        return pki.authority(self.authority).certificate

    @property
    def voters(self) -> list[Member]:
        """The members with a vote."""
        return [member for member in self.members.values() if not member.learner]

    @property
    def members_json(self) -> str:
        """What etcdctl prints of them: what is empty or false is left out."""
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
        """What the reading NodeMarks prints."""
        lines = [
            f"node|{name}|{json.dumps(node.labels)}|{json.dumps(node.taints)}|"
            for name, node in self.nodes.items()
        ]
        record = self.objects.get("kubeadm-deploys")
        return [*lines, *([] if record is None else [f"record|{json.dumps(record)}"])]
