"""etcd's members, as the etcd of one control plane knows them.

Source: etcd's operations guide, "Runtime reconfiguration" and "Learner".
"""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.facts.answers import ClusterFact
from kubeadm_deploys.scripts import script


def etcdctl(*arguments: str) -> StringCommand:
    """etcdctl of the etcd that runs on a control plane."""
    return script("etcdctl", *arguments)


@dataclass(frozen=True, kw_only=True)
class EtcdMember:
    """One member: ``id`` in hexadecimal as etcdctl takes it, ``name`` (empty until its etcd has started once), the
    address of its peer URL, and whether it is still a ``learner`` without a vote.
    """

    id: str
    name: str
    peer_ip: str
    learner: bool = False

    @property
    def joined(self) -> bool:
        """Whether it has come as far as to vote."""
        return bool(self.name) and not self.learner


class EtcdMembers(ClusterFact[tuple[EtcdMember, ...]]):
    """The members as this machine's etcd knows them."""

    @override
    def command(self) -> StringCommand:
        # Serializable: asked of this member alone, so that it is answered without a majority too.
        return etcdctl("member", "list", "--consistency=s", "--write-out=json")

    @override
    def process(self, output: list[str]) -> tuple[EtcdMember, ...]:
        return parse_members("".join(output))


class EtcdHealth(ClusterFact[frozenset[str]]):
    """Addresses of the members that answer, each asked from this machine; takes 5 s when one does not."""

    @override
    def command(self) -> StringCommand:
        # It exits with 1 when one is unhealthy; each one's own answer is in the output, which is JSON then too.
        return StringCommand(etcdctl("endpoint", "health", "--cluster", "--write-out=json"), "; exit 0")

    @override
    def process(self, output: list[str]) -> frozenset[str]:
        answers = json.loads("".join(output))
        return frozenset(_address(each["endpoint"]) for each in answers if each["health"])


class EtcdKeys(ClusterFact[int]):
    """How many objects of Kubernetes this machine's etcd holds, by itself, without a majority."""

    @override
    def command(self) -> StringCommand:
        return etcdctl("get", "/registry/", "--prefix", "--keys-only", "--limit=10", "--consistency=s")

    @override
    def process(self, output: list[str]) -> int:
        return sum(1 for line in output if line.strip())


def parse_members(text: str) -> tuple[EtcdMember, ...]:
    """Read what ``etcdctl member list`` printed as JSON.

    Raises:
        ValueError: it names nobody, although the etcd that was asked is a member itself.
    """
    members = tuple(_member(member) for member in json.loads(text)["members"])
    if not members:
        raise ValueError("etcd has named no member")
    return members


def _member(found: dict[str, Any]) -> EtcdMember:
    # etcd leaves out what is empty or false.
    return EtcdMember(
        id=f"{found['ID']:x}",
        name=found.get("name", ""),
        peer_ip=_address(found["peerURLs"][0]),
        learner=found.get("isLearner", False),
    )


def _address(url: str) -> str:
    return urlsplit(url).hostname or ""
