"""Decide from which control plane's disk a cluster is restored that has lost etcd's majority, and why it is not.

Nothing here contacts a machine.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from kubeadm_deploys.cluster.api_leader import ApiLeader, different_clusters, has_cluster
from kubeadm_deploys.cluster.quorum import quorum_lost
from kubeadm_deploys.facts.kubeadm_node import RESTORE_FOLDER, SET_ASIDE, KubeadmNodeState
from kubeadm_deploys.facts.own_etcd import OwnEtcdState
from kubeadm_deploys.lifecycle.restore_checks import unfit_problem
from kubeadm_deploys.lifecycle.restore_plan import Begun, RestoreRecord, is_whole
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.remote.reading import NotRead


@dataclass(frozen=True, kw_only=True)
class DiskRestore(Begun):
    """A restore from the disk of the ``seed``, whose etcd has the ``image``."""

    image: str


EtcdAnswers = Mapping[str, OwnEtcdState | NotRead]
"""What the etcd of each control plane with data answered, by host."""


def disk_problems(
    topology: Topology,
    *,
    found: Mapping[str, KubeadmNodeState],
    etcd: EtcdAnswers,
    api_leader: ApiLeader,
    record: RestoreRecord | None,
) -> Iterator[str]:
    """Yield why a cluster is not restored from a disk, each reason as a sentence with its fix.

    ``found`` was read on all control planes and on the workers that can be reached.
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
        yield from _begun_problems(topology, found=found, etcd=etcd, record=record)
        return
    nodes = topology.control_planes
    if different := different_clusters([node for node in nodes if has_cluster(found[node.host])], found):
        yield different.removesuffix("; no changes were made")
        return
    leading = [
        node.name
        for node in nodes
        if isinstance(state := etcd.get(node.host), OwnEtcdState) and state.has_leader
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
        if isinstance(answer := etcd.get(node.host), NotRead):
            yield _silent(node, answer)
    answered = [(node, state) for node in nodes if isinstance(state := etcd.get(node.host), OwnEtcdState)]
    if answered:
        _, newest = max(answered, key=lambda one: one[1].newness)
        reached = [node.ip for node in nodes]
        with_data = [node.ip for node in nodes if "etcd" in found[node.host].files]
        if not quorum_lost(members=newest.members, reached=reached, with_data=with_data):
            yield (
                "a majority of etcd's members still has its data; etcd continues by itself when they run: find out why they "
                "do not reach each other"
            )
    if len({state.cluster_id for _, state in answered}) > 1:
        ids = ", ".join(f"{node.name} (etcd cluster {state.cluster_id})" for node, state in answered)
        yield (
            f"members of different etcd clusters are left: {ids}; take those out of the inventory that an earlier restore left behind"
        )
        return
    able = survivors(topology, found=found, etcd=etcd)
    for node, state in answered:
        if not able or state.newness > able[0][1].newness:
            yield (
                f"{node.host}: has the newest data, but its etcd has no vote, or kubeadm's files are not complete there; complete "
                "them, or take the machine out of the inventory to do without this data"
            )


def has_old_etcd(found: KubeadmNodeState) -> bool:
    """Return whether etcd's data of before is there, and its etcd can be asked: a restore may have stopped it."""
    stopped = found.restoring and (found.unpacked or "manifests/etcd.yaml" not in found.files)
    return "etcd" in found.files and not stopped


def _begun_problems(
    topology: Topology, *, found: Mapping[str, KubeadmNodeState], etcd: EtcdAnswers, record: RestoreRecord
) -> Iterator[str]:
    """Yield why a restore that has begun is not gone on with: its disk is gone, or others may have newer data by now."""
    if not record.from_disk:
        yield (
            f"a restore from a backup began at {record.began} and has not ended; finish it with that file: --data "
            "backup=FILE"
        )
        return
    nodes = topology.control_planes
    begun = ", ".join(node.name for node in nodes if found[node.host].restoring == record.line)
    seed = next((found[node.host] for node in nodes if node.name == record.seed), KubeadmNodeState())
    if "etcd" not in seed.files and not seed.unpacked:
        yield (
            f"{record.seed}: a restore from its disk began at {record.began}, and it is not in the inventory or has no data; put "
            f"it back into the inventory; if its disk is lost for good, first copy /var/lib/etcd of {begun} elsewhere, "
            f"end the restore there with 'mv {SET_ASIDE}/* /etc/kubernetes/manifests/; rm -r {RESTORE_FOLDER}', so that etcd runs with its "
            "old data, and run it again"
        )
        return
    own = next((etcd.get(node.host) for node in nodes if node.name == record.seed), None)
    revision = max(record.revision, own.revision if isinstance(own, OwnEtcdState) else 0)
    for node in nodes:
        state, answer = found[node.host], etcd.get(node.host)
        if "etcd" not in state.files or node.name == record.seed:
            continue
        if (other := RestoreRecord.of_line(state.restoring)) and other != record:
            yield (
                f"{node.host}: a restore from {other.seed} began at {other.began}, and {begun} has one from {record.seed} that "
                f"began at {record.began}; take the machines of one of them out of the inventory"
            )
        elif isinstance(answer, NotRead):
            yield _silent(node, answer)
        elif answer and (answer.has_leader or answer.revision > revision):
            yield (
                f"{node.host}: has newer data (revision {answer.revision}{', and etcd has its majority' if answer.has_leader else ''}) "
                f"than {record.seed} had when a restore from its disk began at {record.began} (revision {revision}); to keep "
                f"the newer data, take {begun} out of the inventory; to do without it, {node.name}"
            )


def _silent(node: Node, answer: NotRead) -> str:
    return (
        f"{node.host}: its etcd does not answer ({answer.reason}), so it is not known how new its data is; "
        "'systemctl restart kubelet' there starts it again at once, and 'crictl ps --all' shows whether it runs; or take "
        "the machine out of the inventory"
    )


def survivors(
    topology: Topology, *, found: Mapping[str, KubeadmNodeState], etcd: EtcdAnswers
) -> list[tuple[Node, OwnEtcdState]]:
    """Return the control planes from whose disk a cluster can be restored, the one with the newest data first."""
    able = [
        (node, state)
        for node in topology.control_planes
        if isinstance(state := etcd.get(node.host), OwnEtcdState)
        and not state.learner
        and is_whole(found[node.host], etcd_image=found[node.host].etcd_image)
    ]
    return sorted(able, key=lambda one: one[1].newness, reverse=True)


def described(able: Collection[tuple[Node, OwnEtcdState]], *, restore: DiskRestore) -> str:
    """Return what a restore from a disk keeps, and what may be missing."""
    newest = max((state.applied for _, state in able), default=0)
    older = [
        f"{node.name} is {newest - state.applied} of etcd's entries behind it"
        for node, state in able
        if node != restore.seed
    ]
    return (
        f"From the disk of {restore.seed.name}, revision {restore.record.revision}"
        f"{''.join(f'; {words}' for words in older)}. Writes that only other machines had are gone, also some of the last ones that "
        "the API acknowledged. The other control planes are cleaned, and deploys/cluster.py joins them anew"
    )
