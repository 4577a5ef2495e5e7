"""Read etcd's members from the etcd of one control plane.

Source: etcd's operations guide, "Runtime reconfiguration" and "Learner".
"""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pyinfra.api import FactBase
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.remote.answers import ClusterFact
from kubeadm_deploys.scripts import script


def etcdctl(*arguments: str) -> StringCommand:
    """Return a command that runs etcdctl against the etcd of a control plane."""
    return script("etcdctl", *arguments)


ONLY_FOR_VOTERS = "not supported for learner"
"""A learner's error when it is asked for the members. Source: etcd's api/v3rpc/rpctypes/error.go."""


@dataclass(frozen=True, kw_only=True)
class EtcdMember:
    """An etcd member.

    ``id`` is hexadecimal, as etcdctl expects it. ``name`` is empty until the member has started once.
    ``peer_ip`` is the address in its peer URL. A ``learner`` has no vote yet.
    """

    id: str
    name: str
    peer_ip: str
    learner: bool = False

    @property
    def joined(self) -> bool:
        """Whether the member votes."""
        return bool(self.name) and not self.learner


class EtcdMembers(ClusterFact[tuple[EtcdMember, ...]]):
    """Read the members from this machine's etcd."""

    @override
    def command(self) -> StringCommand:
        # A serializable read needs only this member, but one that was started without a majority does not answer; see
        # own_etcd.
        return etcdctl("member", "list", "--consistency=s", "--write-out=json")

    @override
    def process(self, output: list[str]) -> tuple[EtcdMember, ...]:
        return parse_members("".join(output))


class EtcdHealth(ClusterFact[frozenset[str]]):
    """Read the addresses of the members that answer this machine; takes 5 s if a member does not answer."""

    @override
    def command(self) -> StringCommand:
        # etcdctl exits with 1 if a member is unhealthy, but still prints all results as JSON.
        return StringCommand(etcdctl("endpoint", "health", "--cluster", "--write-out=json"), "; exit 0")

    @override
    def process(self, output: list[str]) -> frozenset[str]:
        answers = json.loads("".join(output))
        return frozenset(address_of(answer["endpoint"]) for answer in answers if answer["health"])


class EtcdKeys(ClusterFact[int]):
    """Count the Kubernetes objects in this machine's etcd, up to a limit; works without a majority."""

    @override
    def command(self) -> StringCommand:
        return etcdctl("get", "/registry/", "--prefix", "--keys-only", "--limit=10", "--consistency=s")

    @override
    def process(self, output: list[str]) -> int:
        return sum(1 for line in output if line.strip())


class EtcdLogIsEmpty(FactBase[bool]):
    """Read whether etcd's log on this machine has no entry: then nothing was ever stored, not even who the members are.

    A power cut between the first two writes of a new member leaves such a log. etcd finds it, so it does not begin anew, and
    waits for ever without an answer. The disk is read: a healthy etcd, too, may know of no member in the moment of its start.

    Source: etcd's server/etcdserver/bootstrap.go and server/storage/wal/wal.go, in 3.6 and 3.7.
    """

    @override
    def command(self) -> StringCommand:
        return script("read-etcd-log")

    @override
    def process(self, output: list[str]) -> bool:
        (found,) = (line.strip() for line in output if line.strip())
        return {"empty": True, "written": False}[found]


class EtcdRevision(ClusterFact[int]):
    """Read etcd's revision through this machine's member: every write that was acknowledged before is in it.

    The read is linearizable: it needs a majority, and the member answers only once it has caught up.
    """

    @override
    def command(self) -> StringCommand:
        return etcdctl("get", "kubeadm-deploys", "--consistency=l", "--write-out=json")

    @override
    def process(self, output: list[str]) -> int:
        return int(json.loads("".join(output))["header"]["revision"])


def parse_members(text: str) -> tuple[EtcdMember, ...]:
    """Parse the JSON output of ``etcdctl member list``.

    Raises:
        ValueError: the list is empty, although the etcd that was asked is a member itself.
    """
    members = tuple(member_of(member) for member in json.loads(text)["members"])
    if not members:
        raise ValueError("etcd lists no members")
    return members


def member_of(found: dict[str, Any]) -> EtcdMember:
    """Parse a member as etcdctl prints it, or as etcd itself tells other members."""
    # etcd omits empty and false values.
    return EtcdMember(
        id=f"{found['ID'] if 'ID' in found else found['id']:x}",
        name=found.get("name", ""),
        peer_ip=address_of(found["peerURLs"][0]),
        learner=found.get("isLearner", False),
    )


def address_of(url: str) -> str:
    """Return the address in a URL."""
    return urlsplit(url).hostname or ""
