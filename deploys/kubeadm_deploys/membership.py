"""Which machines are nodes of the cluster, and what speaks against that, decided from what was read.

Nothing here asks a machine. ``NotRead`` stands where a machine gave no answer: it is never an empty machine.
"""

from collections.abc import Iterator
from functools import partial
from urllib.parse import urlsplit

from kubeadm_deploys.election import (
    UNREACHABLE_CURE,
    Election,
    Found,
    different_clusters,
    fingerprint,
    has_cluster,
)
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.kubeadm_node import (
    KubeadmNodeState,
    NodeState,
    is_same_ca,
    node_state,
)
from kubeadm_deploys.facts.reading import NotRead
from kubeadm_deploys.findings import Finding, Severity
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.quorum import QUORUM_FIX, unlisted_members

ANOTHER_CLUSTER = (
    "is a node of another cluster: its CA certificate is not the one of the inventory's control planes",
    "take it out of the inventory",
)
ETCD_DATA = (
    "has etcd data in /var/lib/etcd that kubeadm did not create",
    "back it up and remove it if it is not needed",
)
"""What was found, and its fix."""


def membership_findings(
    topology: Topology,
    *,
    election: Election,
    found: Found,
    members: ClusterMembersState | None,
    lost: str = "",
) -> Iterator[Finding]:
    """What the inventory's control planes say of the cluster as a whole.

    ``members`` is None while the cluster cannot be asked, ``lost`` what ``quorum_lost`` says.
    """
    of_cluster = partial(Finding, check="control-planes", host="")
    if not election.exists and election.problem:
        said = election.problem.removesuffix(f"; {UNREACHABLE_CURE}")
        yield of_cluster(severity=Severity.DANGER, found=said, cure=UNREACHABLE_CURE)
    if lost:
        yield of_cluster(severity=Severity.DANGER, found=lost, cure=QUORUM_FIX)
    yield from _manifest_findings(topology, found=found)
    if different := different_clusters(
        [n for n in topology.control_planes if has_cluster(found[n.host])], found
    ):
        said, _, fix = different.rpartition("; ")
        yield of_cluster(
            severity=Severity.DANGER, found=said.removesuffix("; no changes were made"), cure=fix
        )
    if members is None:
        return
    unlisted = unlisted_members(topology, found=members)
    voters = sum(member.joined for member in members.etcd)
    if len(unlisted) * 2 > voters:
        yield of_cluster(
            severity=Severity.DANGER,
            found=(
                f"control_plane: {', '.join(unlisted)} are {len(unlisted)} of the cluster's {voters} control planes, "
                "but not in the inventory"
            ),
            cure="put them back, or remove them one by one with deploys/remove_node.py",
        )
        return
    for name in unlisted:
        yield of_cluster(
            severity=Severity.DOUBT,
            found=f"{name} is a control plane of the cluster, but not in the inventory",
            cure=f"if it is lost, remove it: deploys/remove_node.py --data node={name} --data force=true",
        )


def _manifest_findings(topology: Topology, *, found: Found) -> Iterator[Finding]:
    """Static pods that a control plane of a cluster lacks: seen on the disk, before any API is waited for."""
    for node in topology.control_planes:
        state = found[node.host]
        # Without these two nothing is to run here: a join, or the cleaning of a machine, did not finish.
        if isinstance(state, NotRead) or not {"etcd", "kubelet.conf"} <= state.files:
            continue
        for name in state.missing_manifests if state.has_cluster else ():
            path = f"/etc/kubernetes/manifests/{name}.yaml"
            if name in state.backups:
                yield Finding(
                    check="manifests",
                    host=node.host,
                    severity=Severity.DOUBT,
                    found=f"{path} is missing, so {name} does not run; kubeadm's backup is {state.backups[name]}",
                    cure="deploys/cluster.py puts it back",
                )
            else:
                phase = "etcd local" if name == "etcd" else f"control-plane {name.removeprefix('kube-')}"
                yield Finding(
                    check="manifests",
                    host=node.host,
                    severity=Severity.DANGER,
                    found=f"{path} is missing, so {name} does not run, and kubeadm has no backup of it",
                    cure=(
                        f"put it back from a copy, or compare with the other control planes' and write it with "
                        f"'kubeadm init phase {phase}'"
                    ),
                )


def standing(
    found: KubeadmNodeState,
    *,
    node: Node,
    control_plane: bool,
    cluster_ca: str,
    members: ClusterMembersState | None,
) -> NodeState:
    """What a machine is in the cluster: its files, held against what the API and etcd say of it.

    A node that the API has Ready under this name and machine ID, or that has a vote in etcd, is a member, whatever its
    files look like. Only a machine that the cluster was asked about and does not count, or on which a join can be seen
    not to have finished, is ``HALF``. ``members`` is None while the cluster cannot be asked, and empty without one.
    """
    state = node_state(found, cluster_ca=cluster_ca)
    if state in (NodeState.ABSENT, NodeState.FOREIGN):
        return state
    if members is None:
        return NodeState.MEMBER if state is NodeState.MEMBER else NodeState.UNKNOWN
    has_vote = any(
        each.joined and (each.name == node.name or each.peer_ip == node.ip) for each in members.etcd
    )
    if has_vote or (found.is_control_plane and found.api == "ok"):
        return NodeState.MEMBER
    registered = members.nodes.get(node.name)
    if registered is None:
        return NodeState.HALF
    if registered.machine_id != found.machine_id:
        # It is refused for its name, whatever it is.
        return state
    if control_plane and (found.is_control_plane or "kubelet.conf" not in found.files):
        # etcd was asked, and this machine has no vote: its API server cannot work.
        return NodeState.HALF
    unfinished = "bootstrap-kubelet.conf" in found.files or "kubelet.conf" not in found.files
    return NodeState.HALF if unfinished and not registered.ready else NodeState.MEMBER


def has_vote(node: Node, *, members: ClusterMembersState) -> bool:
    """Whether etcd counts a member with a vote under a node's name or at its address."""
    return any(each.joined and (each.name == node.name or each.peer_ip == node.ip) for each in members.etcd)


def _is_control_plane(found: KubeadmNodeState, *, node: Node, members: ClusterMembersState) -> bool:
    """Which role a member has: by the cluster's word, since people copy files of control planes to workers."""
    registered = members.nodes.get(node.name)
    counted = registered is None or registered.control_plane or has_vote(node, members=members)
    return found.is_control_plane and counted


def needs_registration(*, node: Node, found: KubeadmNodeState, members: ClusterMembersState) -> bool:
    """Whether a member's Node object is gone: its kubelet makes one only when it starts."""
    return found.is_control_plane and node.name not in members.nodes


def join_findings(
    topology: Topology,
    *,
    node: Node,
    found: KubeadmNodeState,
    election: Election,
    members: ClusterMembersState | None,
    endpoint: str,
) -> Iterator[Finding]:
    """Why a machine must not be joined: it is something else already, or another has its name.

    ``endpoint`` is the name of the cluster's API.
    """
    control_plane = node in topology.control_planes
    state = node_state(found, cluster_ca=election.ca_certificate)
    refused = partial(Finding, host=node.host, severity=Severity.DANGER)
    if found.has_etcd_of_others:
        yield refused(check="etcd-data", found=ETCD_DATA[0], cure=ETCD_DATA[1])
        return
    if state is NodeState.FOREIGN:
        yield refused(check="another-cluster", found=ANOTHER_CLUSTER[0], cure=ANOTHER_CLUSTER[1])
        return
    if said := foreign_server(found, topology=topology, endpoint=endpoint):
        yield refused(
            check="another-cluster", found=said, cure="take it out of the inventory, or correct its address"
        )
        return
    if (
        not election.exists
        and (found.ca_certificate or found.client_certificate)
        and (not control_plane or _is_of_a_worker(found))
    ):
        yield refused(
            check="another-cluster",
            found="has the files of a cluster, but none of the inventory's control planes has a cluster",
            cure="take it out of the inventory; if its cluster is gone for good, clean it with deploys/reset.py",
        )
        return
    if members is None:
        return
    state = standing(
        found, node=node, control_plane=control_plane, cluster_ca=election.ca_certificate, members=members
    )
    yield from _identity_findings(node=node, found=found, members=members)
    yield from _etcd_findings(node=node, found=found, members=members)
    if (
        state is NodeState.MEMBER
        and _is_control_plane(found, node=node, members=members) is not control_plane
    ):
        is_now, to_be = ("worker", "control plane") if control_plane else ("control plane", "worker")
        yield refused(
            check="node-role",
            found=f"is a {is_now} of the cluster and cannot become a {to_be} as it is",
            cure="put it back into its group, or remove it with deploys/remove_node.py and run again",
        )


def _is_of_a_worker(found: KubeadmNodeState) -> bool:
    """Whether a machine without a cluster of its own is or was to be a node of one: an init has its CA's key first."""
    kubelet = not found.files.isdisjoint({"kubelet.conf", "bootstrap-kubelet.conf"})
    return (kubelet or bool(found.client_certificate)) and "pki/ca.key" not in found.files


def foreign_server(found: KubeadmNodeState, *, topology: Topology, endpoint: str) -> str:
    """That the kubelet's kubeconfig has another API server than this cluster's, empty when it has not.

    It counts where no certificate shows whose the machine is.
    """
    if found.ca_certificate or found.client_certificate or not found.server:
        return ""
    server = urlsplit(found.server).hostname or found.server
    known = {endpoint, "127.0.0.1", "localhost", *(node.ip for node in topology.control_planes)}
    return (
        ""
        if server in known
        else f"its kubelet belongs to the cluster at {found.server}, and not to {endpoint}"
    )


def _identity_findings(
    *, node: Node, found: KubeadmNodeState, members: ClusterMembersState
) -> Iterator[Finding]:
    """Where the API, etcd and the machine do not mean the same by this node."""
    refused = partial(Finding, host=node.host, severity=Severity.DANGER, check="node-name")
    registered = members.nodes.get(node.name)
    if registered and registered.machine_id != found.machine_id:
        yield refused(
            found=f"node_name {node.name!r} is in the cluster already, under another machine",
            cure=(
                f"give this one another name, or remove the other one: deploys/remove_node.py --data node={node.name}, "
                "with --data force=true if it is lost"
            ),
        )
        return
    others = sorted(
        name
        for name, each in members.nodes.items()
        if found.machine_id and each.machine_id == found.machine_id and name != node.name
    )
    if others and not registered and found.files:
        yield refused(
            found=f"is node {others[0]} of the cluster (same machine ID), and the inventory calls it {node.name}",
            cure=f"set node_name to {others[0]}, or remove that node first: deploys/remove_node.py --data node={others[0]}",
        )
    for member in members.etcd:
        if member.joined and (member.name == node.name) is not (member.peer_ip == node.ip):
            yield refused(
                found=(
                    f"etcd has the member {member.name} at {member.peer_ip}, and the inventory has {node.name} at "
                    f"{node.ip}"
                ),
                cure=(
                    f"set node_name and node_ip to etcd's, or remove the member first: deploys/remove_node.py "
                    f"--data node={member.name}"
                ),
            )


def _etcd_findings(*, node: Node, found: KubeadmNodeState, members: ClusterMembersState) -> Iterator[Finding]:
    """Where a control plane and etcd's members do not go together."""
    if not found.is_control_plane or not members.etcd:
        return
    refused = partial(Finding, host=node.host, severity=Severity.DANGER, check="control-planes")
    votes = has_vote(node, members=members)
    if votes and "etcd" not in found.files:
        yield refused(
            found="has a vote in etcd, and no data of it in /var/lib/etcd",
            cure=f"mount its disk, or remove it: deploys/remove_node.py --data node={node.name}",
        )
    if not votes and found.api == "ok":
        yield refused(
            found="its API server answers, and the cluster's etcd does not count it as a member: it has an etcd of its own",
            cure="find out which of the two the cluster is, and take the other one out of the inventory",
        )


def ownership_findings(
    *, election: Election, cluster_name: str | None, kubeconfig: str, kubeconfig_ca: str | None
) -> Iterator[Finding]:
    """Whether the cluster that was found is the one that the operator means.

    ``cluster_name`` is the option, None when it was compared already, ``kubeconfig`` the path of the operator's kubeconfig and ``kubeconfig_ca`` the CA
    certificate in it, None without such a file.
    """
    another = partial(Finding, check="another-cluster", host="", severity=Severity.DANGER)
    if not election.exists:
        return
    if cluster_name and election.cluster_name and election.cluster_name != cluster_name:
        yield another(
            found=(
                f"cluster_name is {cluster_name!r}, but the cluster of the inventory's control planes is called "
                f"{election.cluster_name!r}"
            ),
            cure=f"look whether the inventory has the right addresses; if it does, set cluster_name to {election.cluster_name}",
        )
    if kubeconfig_ca and not is_same_ca(kubeconfig_ca, election.ca_certificate):
        yield another(
            found=(
                f"the cluster of the inventory's control planes has another CA certificate "
                f"({fingerprint(election.ca_certificate)}) than the kubeconfig {kubeconfig} ({fingerprint(kubeconfig_ca)})"
            ),
            cure=(
                "look whether the inventory has the right addresses; if the cluster was made anew, move that file away "
                "or set another path with kubeconfig"
            ),
        )


def join_refusal(
    topology: Topology,
    *,
    node: Node,
    found: KubeadmNodeState,
    election: Election,
    members: ClusterMembersState | None,
    endpoint: str,
) -> str:
    """Why a machine must not be joined in one sentence, empty when it may."""
    findings = join_findings(
        topology, node=node, found=found, election=election, members=members, endpoint=endpoint
    )
    return next((finding.words for finding in findings), "")
