"""Read what the etcd member of one machine knows, also if it was started without a majority.

etcdctl gets no answer then: etcd begins to serve clients when it has written once since its start. Its metrics, and what it
tells other members, are served from the start.

Source: etcd's server/embed/etcd.go and serve.go, and etcdserver/api/etcdhttp/peer.go, in 3.6 and 3.7.
"""

import json
from dataclasses import dataclass

from pyinfra.api import FactBase
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.facts.etcd import EtcdMember, address_of, member_of
from kubeadm_deploys.remote import lines
from kubeadm_deploys.scripts import script


@dataclass(frozen=True, kw_only=True)
class OwnEtcdState:
    """The etcd member of a machine, and the ``members`` that it knows.

    ``has_leader`` is whether it knows of a leader, which there is with a majority only, and ``learner`` whether it has no vote.
    ``revision`` is that of its data, ``applied`` the number of the last entry of etcd's log that is in the data, and
    ``cluster_id`` the number of its cluster.
    """

    has_leader: bool
    learner: bool
    revision: int
    applied: int
    cluster_id: int
    members: tuple[EtcdMember, ...]

    @property
    def newness(self) -> tuple[int, int]:
        """By what members of one cluster are compared: the greater one has all that the other one has."""
        return self.revision, self.applied


class OwnEtcd(FactBase[OwnEtcdState]):
    """Read the state of this machine's etcd member."""

    @override
    def command(self) -> StringCommand:
        return script("read-own-etcd")

    @override
    def process(self, output: list[str]) -> OwnEtcdState:
        *before, members = (line for line in output if line.strip())
        values = {key.lower(): value for key, value in lines.parse(before).items()}
        found = tuple(member_of(member) for member in json.loads(members))
        (own,) = (member for member in found if member.peer_ip == address_of(values["peer"]))
        return OwnEtcdState(
            has_leader=_number(values["etcd_server_has_leader"]) > 0,
            learner=own.learner,
            revision=_number(values["etcd_debugging_mvcc_current_revision"]),
            applied=_number(values["etcd_server_proposals_applied_total"]),
            cluster_id=int(values["x-etcd-cluster-id:"], 16),
            members=found,
        )


def _number(metric: str) -> int:
    # Great ones are like 1.234567e+06.
    return int(float(metric))
