"""Decide from which control plane's disk a cluster is restored that has lost etcd's majority, and why it is not.

Nothing here contacts a machine.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from kubeadm_deploys.cluster.api_leader import ApiLeader, different_clusters, has_cluster
from kubeadm_deploys.cluster.quorum import quorum_lost
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.facts.node_status import EtcdStatusState
from kubeadm_deploys.lifecycle.restore_checks import unfit_problem
from kubeadm_deploys.lifecycle.restore_plan import Begun, RestoreRecord, is_whole
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.remote.reading import NotRead


@dataclass(frozen=True, kw_only=True)
class DiskRestore(Begun):
    """A restore from the disk of the ``seed``, whose etcd has the ``image``."""

    image: str


EtcdAnswers = Mapping[str, EtcdStatusState | NotRead]
"""What the etcd of each control plane with data answered, by host; it answers without a majority, too."""


def disk_problems(
    topology: Topology,
    *,
    found: Mapping[str, KubeadmNodeState],
    etcd: EtcdAnswers,
    members: tuple[EtcdMember, ...],
    api_leader: ApiLeader,
    record: RestoreRecord | None,
) -> Iterator[str]:
    """Yield why a cluster is not restored from a disk, each reason as a sentence with its fix.

    ``found`` was read on all control planes and on the workers that can be reached, ``members`` are etcd's, as one of the
    answering members lists them.
    """
    for node in topology.nodes:
        if node.host in found and (
            unfit := unfit_problem(
                found[node.host],
                node=node,
                control_plane=node in topology.control_planes,
                ca=api_leader.ca_certificate,
            )
        ):
            yield unfit
    if record:
        if not record.from_disk:
            yield (
                f"a restore from a backup began at {record.began} and has not ended; finish it with that file: --data "
                "backup=FILE"
            )
        elif record.seed not in {node.name for node in topology.control_planes}:
            yield f"{record.seed}: a restore from its disk began at {record.began}; put it back into the inventory"
        return
    nodes = topology.control_planes
    if different := different_clusters([node for node in nodes if has_cluster(found[node.host])], found):
        yield different.removesuffix("; no changes were made")
        return
    leading = [
        node.name
        for node in nodes
        if isinstance(state := etcd.get(node.host), EtcdStatusState) and state.has_leader
    ]
    if api_leader.healthy or leading:
        names = [node.name for node in api_leader.healthy] or leading
        yield (
            f"etcd has its majority ({', '.join(names)}), so nothing is lost; replace control planes that are, with "
            "deploys/remove_node.py and deploys/cluster.py"
        )
        return
    if not any("etcd" in found[node.host].files for node in nodes):
        yield "no control plane of the inventory has etcd's data; restore the cluster from a backup"
        return
    for node in nodes:
        answer = etcd.get(node.host)
        if isinstance(answer, NotRead):
            yield (
                f"{node.host}: its etcd does not answer ({answer.reason}), so it is not known how new its data is; "
                "'systemctl restart kubelet' there starts it again at once, and 'crictl ps --all' shows whether it runs; or take "
                "the machine out of the inventory"
            )
    if members:
        reached = [node.ip for node in nodes]
        with_data = [node.ip for node in nodes if "etcd" in found[node.host].files]
        if not quorum_lost(members=members, reached=reached, with_data=with_data):
            yield (
                "a majority of etcd's members still has its data; etcd continues by itself when they run: find out why they "
                "do not reach each other"
            )
    answered = [(node, state) for node in nodes if isinstance(state := etcd.get(node.host), EtcdStatusState)]
    if len({state.cluster_id for _, state in answered}) > 1:
        ids = ", ".join(f"{node.name} (etcd cluster {state.cluster_id})" for node, state in answered)
        yield (
            f"members of different etcd clusters are left: {ids}; take those out of the inventory that an earlier restore left behind"
        )
        return
    able = survivors(topology, found=found, etcd=etcd)
    newest = able[0][1].applied if able else -1
    for node, state in answered:
        if state.applied > newest:
            yield (
                f"{node.host}: has the newest data, but its etcd has no vote, or kubeadm's files are not complete there; complete "
                "them, or take the machine out of the inventory to do without this data"
            )


def survivors(
    topology: Topology, *, found: Mapping[str, KubeadmNodeState], etcd: EtcdAnswers
) -> list[tuple[Node, EtcdStatusState]]:
    """Return the control planes from whose disk a cluster can be restored, the one with the newest data first."""
    able = [
        (node, state)
        for node in topology.control_planes
        if isinstance(state := etcd.get(node.host), EtcdStatusState)
        and not state.learner
        and is_whole(found[node.host], etcd_image=found[node.host].etcd_image)
    ]
    return sorted(able, key=lambda one: one[1].applied, reverse=True)


def described(able: Collection[tuple[Node, EtcdStatusState]], *, restore: DiskRestore) -> str:
    """Return what a restore from a disk keeps, and what may be missing."""
    newest = max((state.applied for _, state in able), default=0)
    older = [
        f"{node.name} is {newest - state.applied} of etcd's entries behind it"
        for node, state in able
        if node != restore.seed
    ]
    return (
        f"From the disk of {restore.seed.name}, revision {restore.record.backup.partition(':')[2]}"
        f"{''.join(f'; {words}' for words in older)}. Writes that only other machines had are gone, also some of the last ones that "
        "the API acknowledged. The other control planes are cleaned, and deploys/cluster.py joins them anew"
    )
