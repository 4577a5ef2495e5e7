"""Decide which machines are nodes of the cluster, and which findings stop a machine from joining.

Nothing here contacts a machine. ``NotRead`` means that a machine gave no answer; such a machine never counts
as empty.
"""

from collections.abc import Iterator
from functools import partial
from urllib.parse import urlsplit

from kubeadm_deploys.cluster.api_leader import (
    UNREACHABLE_FIX,
    ApiLeader,
    Found,
    different_clusters,
    fingerprint,
    has_cluster,
    restore_fix,
    unfinished_restore,
)
from kubeadm_deploys.cluster.quorum import QUORUM_FIX, unlisted_members
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState, NodeState, is_same_ca, node_state
from kubeadm_deploys.model.findings import Finding, Severity
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.remote.reading import NotRead

ANOTHER_CLUSTER = (
    "is a node of another cluster: its CA certificate differs from that of the inventory's control planes",
    "take it out of the inventory",
)
JOINED_ANOTHER = (
    "has the files of a cluster, but none of the inventory's control planes has a cluster",
    "take it out of the inventory; if its cluster is gone for good, clean it with deploys/reset.py",
)
ETCD_DATA = (
    "has etcd data in /var/lib/etcd that kubeadm did not create",
    "back it up and remove it if it is not needed",
)
"""A finding and its fix; the two above have the same form."""


def membership_findings(
    topology: Topology,
    *,
    api_leader: ApiLeader,
    found: Found,
    members: ClusterMembersState | None,
    lost: str = "",
) -> Iterator[Finding]:
    """Yield findings about the cluster as a whole, from what was read on the inventory's control planes.

    ``members`` is None if the cluster's API does not answer, ``lost`` is the result of ``quorum_lost``.
    """
    of_cluster = partial(Finding, check="control-planes", host="")
    if unfinished := unfinished_restore(topology.control_planes, found):
        fix = restore_fix(topology.control_planes, found)
        yield of_cluster(severity=Severity.ERROR, found=unfinished, fix=fix)
        return
    if not api_leader.exists and api_leader.problem:
        problem = api_leader.problem.removesuffix(f"; {UNREACHABLE_FIX}")
        yield of_cluster(severity=Severity.ERROR, found=problem, fix=UNREACHABLE_FIX)
    if lost:
        yield of_cluster(severity=Severity.ERROR, found=lost, fix=QUORUM_FIX)
    yield from _manifest_findings(topology, found=found)
    if different := different_clusters(
        [n for n in topology.control_planes if has_cluster(found[n.host])], found
    ):
        problem, _, fix = different.rpartition("; ")
        yield of_cluster(
            severity=Severity.ERROR, found=problem.removesuffix("; no changes were made"), fix=fix
        )
    if members is None:
        return
    unlisted = unlisted_members(topology, found=members)
    voters = sum(member.joined for member in members.etcd)
    if len(unlisted) * 2 > voters:
        yield of_cluster(
            severity=Severity.ERROR,
            found=(
                f"control_plane: {len(unlisted)} of the cluster's {voters} control planes are not in the inventory: "
                f"{', '.join(unlisted)}"
            ),
            fix="add them to the inventory, or remove them one by one with deploys/remove_node.py",
        )
        return
    for name in unlisted:
        yield of_cluster(
            severity=Severity.WARNING,
            found=f"{name} is a control plane of the cluster, but not in the inventory",
            fix=f"if it is lost, remove it: deploys/remove_node.py --data node={name} --data force=true",
        )


def _manifest_findings(topology: Topology, *, found: Found) -> Iterator[Finding]:
    """Yield missing static pod manifests of control planes, read from disk, so without any API server."""
    for node in topology.control_planes:
        state = found[node.host]
        # If one of the two is missing, a join or a cleaning did not finish, and no static pod should run here.
        if isinstance(state, NotRead) or not {"etcd", "kubelet.conf"} <= state.files:
            continue
        for name in state.missing_manifests if state.has_cluster else ():
            path = f"/etc/kubernetes/manifests/{name}.yaml"
            if name in state.backups:
                yield Finding(
                    check="manifests",
                    host=node.host,
                    severity=Severity.WARNING,
                    found=(
                        f"{path} is missing, so {name} does not run; kubeadm's backup is "
                        f"{state.backups[name]}"
                    ),
                    fix="run deploys/cluster.py, which restores it",
                )
            else:
                phase = "etcd local" if name == "etcd" else f"control-plane {name.removeprefix('kube-')}"
                yield Finding(
                    check="manifests",
                    host=node.host,
                    severity=Severity.ERROR,
                    found=f"{path} is missing, so {name} does not run, and kubeadm has no backup of it",
                    fix=(
                        "restore it from a copy; or compare with those of the other control planes, and write it "
                        f"with 'kubeadm init phase {phase}'"
                    ),
                )


def membership_state(
    found: KubeadmNodeState,
    *,
    node: Node,
    control_plane: bool,
    cluster_ca: str,
    members: ClusterMembersState | None,
) -> NodeState:
    """Return what a machine is in the cluster, from its files and from what the API and etcd report.

    A node that is Ready in the API under this name and machine ID, or that votes in etcd, is a member,
    whatever its files look like. A machine is ``PARTIAL`` only if the cluster was asked and does not know it,
    or if its files show that its join did not finish. ``members`` is None if the cluster's API does not
    answer, and empty without a cluster.
    """
    state = node_state(found, cluster_ca=cluster_ca)
    if state in (NodeState.ABSENT, NodeState.FOREIGN):
        return state
    if members is None:
        return NodeState.MEMBER if state is NodeState.MEMBER else NodeState.UNKNOWN
    if has_vote(node, members=members) or (found.is_control_plane and found.api == "ok"):
        return NodeState.MEMBER
    registered = members.nodes.get(node.name)
    if registered is None:
        return NodeState.PARTIAL
    if registered.machine_id != found.machine_id:
        # Refused for its name anyway, see _identity_findings.
        return state
    if control_plane and (found.is_control_plane or "kubelet.conf" not in found.files):
        # Without a vote in etcd, its API server cannot work.
        return NodeState.PARTIAL
    unfinished = "bootstrap-kubelet.conf" in found.files or "kubelet.conf" not in found.files
    return NodeState.PARTIAL if unfinished and not registered.ready else NodeState.MEMBER


def has_vote(node: Node, *, members: ClusterMembersState) -> bool:
    """Return whether a voting etcd member has a node's name or address."""
    return any(
        member.joined and (member.name == node.name or member.peer_ip == node.ip) for member in members.etcd
    )


def _is_control_plane(found: KubeadmNodeState, *, node: Node, members: ClusterMembersState) -> bool:
    """Return whether a member is a control plane; files do not decide, people copy them to workers."""
    if has_vote(node, members=members):
        return True
    registered = members.nodes.get(node.name)
    may_be_control_plane = registered is None or registered.control_plane
    return found.is_control_plane and (may_be_control_plane or found.api == "ok")


def needs_registration(*, node: Node, found: KubeadmNodeState, members: ClusterMembersState) -> bool:
    """Return whether a control plane lacks its Node object; the kubelet creates one only when it starts."""
    return found.is_control_plane and node.name not in members.nodes


def join_findings(
    topology: Topology,
    *,
    node: Node,
    found: KubeadmNodeState,
    api_leader: ApiLeader,
    members: ClusterMembersState | None,
    endpoint: str,
) -> Iterator[Finding]:
    """Yield why a machine must not be joined, for example because another machine has its name.

    ``endpoint`` is the DNS name of the cluster's API.
    """
    control_plane = node in topology.control_planes
    state = node_state(found, cluster_ca=api_leader.ca_certificate)
    refused = partial(Finding, host=node.host, severity=Severity.ERROR)
    if found.has_etcd_of_others:
        yield refused(check="etcd-data", found=ETCD_DATA[0], fix=ETCD_DATA[1])
        return
    if state is NodeState.FOREIGN:
        yield refused(check="another-cluster", found=ANOTHER_CLUSTER[0], fix=ANOTHER_CLUSTER[1])
        return
    if foreign := foreign_server(found, topology=topology, endpoint=endpoint):
        yield refused(
            check="another-cluster", found=foreign, fix="take it out of the inventory, or correct its address"
        )
        return
    # An interrupted init also leaves files on a control plane, but never those of a worker.
    has_files = found.ca_certificate or found.client_certificate or found.is_worker
    if not api_leader.exists and has_files and (found.is_worker or not control_plane):
        yield refused(check="another-cluster", found=JOINED_ANOTHER[0], fix=JOINED_ANOTHER[1])
        return
    if members is None:
        return
    state = membership_state(
        found, node=node, control_plane=control_plane, cluster_ca=api_leader.ca_certificate, members=members
    )
    yield from _identity_findings(node=node, found=found, members=members)
    yield from _etcd_findings(node=node, found=found, members=members)
    if (
        state is NodeState.MEMBER
        and _is_control_plane(found, node=node, members=members) is not control_plane
    ):
        current, wanted = ("worker", "control plane") if control_plane else ("control plane", "worker")
        yield refused(
            check="node-role",
            found=f"is a {current} of the cluster and cannot become a {wanted}",
            fix=(
                "put it back into its inventory group, or remove it with deploys/remove_node.py and run again"
            ),
        )


def foreign_server(found: KubeadmNodeState, *, topology: Topology, endpoint: str) -> str:
    """Return that the kubelet's kubeconfig names an API server of another cluster, empty if it does not.

    Only checked if no certificate shows to which cluster the machine belongs.
    """
    if found.ca_certificate or found.client_certificate or not found.server:
        return ""
    server = urlsplit(found.server).hostname or found.server
    known = {endpoint, "127.0.0.1", "localhost", *(node.ip for node in topology.control_planes)}
    return (
        "" if server in known else f"its kubelet belongs to the cluster at {found.server}, not to {endpoint}"
    )


def _identity_findings(
    *, node: Node, found: KubeadmNodeState, members: ClusterMembersState
) -> Iterator[Finding]:
    """Yield where the API, etcd and the machine disagree about the identity of this node."""
    refused = partial(Finding, host=node.host, severity=Severity.ERROR, check="node-name")
    registered = members.nodes.get(node.name)
    if registered and registered.machine_id and not found.machine_id:
        yield refused(
            found=(
                f"has no machine ID in /etc/machine-id, so it is not known whether it is node {node.name} of "
                "the cluster"
            ),
            fix=(
                "restore the one that 'kubectl describe node' shows, or, on a new machine, create one with "
                "'systemd-machine-id-setup'"
            ),
        )
        return
    if registered and registered.machine_id != found.machine_id:
        yield refused(
            found=f"node_name {node.name!r} already belongs to another machine in the cluster",
            fix=(
                "give this machine another name, or remove the other one: deploys/remove_node.py --data "
                f"node={node.name}, with --data force=true if it is lost"
            ),
        )
        return
    others = sorted(
        name
        for name, other in members.nodes.items()
        if found.machine_id and other.machine_id == found.machine_id and name != node.name
    )
    if others and not registered and node_state(found) is not NodeState.ABSENT:
        yield refused(
            found=(
                f"is node {others[0]} of the cluster (same machine ID), but the inventory calls it "
                f"{node.name}"
            ),
            fix=(
                f"set node_name to {others[0]}, or remove that node first: deploys/remove_node.py --data "
                f"node={others[0]}"
            ),
        )
    for member in members.etcd:
        if member.joined and (member.name == node.name) is not (member.peer_ip == node.ip):
            yield refused(
                found=(
                    f"etcd has the member {member.name} at {member.peer_ip}, but the inventory has "
                    f"{node.name} at {node.ip}"
                ),
                fix=(
                    "set node_name and node_ip to those in etcd, or remove the member first: "
                    f"deploys/remove_node.py --data node={member.name}"
                ),
            )
    if registered and registered.ready and found.machine_id and node_state(found) is NodeState.ABSENT:
        yield refused(
            found=f"is node {node.name} of the cluster, which is Ready, but its kubeadm files are gone",
            fix=(
                "restore /etc/kubernetes, or remove the node: deploys/remove_node.py --data "
                f"node={node.name}; after a manual reset, wait a minute until it is NotReady"
            ),
        )


def _etcd_findings(*, node: Node, found: KubeadmNodeState, members: ClusterMembersState) -> Iterator[Finding]:
    """Yield where a control plane and etcd's members contradict each other."""
    refused = partial(Finding, host=node.host, severity=Severity.ERROR, check="control-planes")
    votes = has_vote(node, members=members)
    # A machine without kubeadm files was replaced: it joins in place of its old member.
    if votes and "etcd" not in found.files and node_state(found) is not NodeState.ABSENT:
        yield refused(
            found="has a vote in etcd, but no etcd data in /var/lib/etcd",
            fix=f"mount its disk, or remove it: deploys/remove_node.py --data node={node.name}",
        )
    if members.etcd and not votes and found.is_control_plane and found.api == "ok":
        yield refused(
            found="its API server answers, but it is not a member of the cluster's etcd: it has its own etcd",
            fix="find out which of the two is the cluster, and take the other one out of the inventory",
        )


def ownership_findings(
    *, api_leader: ApiLeader, cluster_name: str | None, kubeconfig: str, kubeconfig_ca: str | None
) -> Iterator[Finding]:
    """Yield why the cluster that was found may not be the one that the operator means.

    ``cluster_name`` is the option, None if it was already compared. ``kubeconfig`` is the path of the
    operator's kubeconfig and ``kubeconfig_ca`` the CA certificate in it, None without such a file.
    """
    another = partial(Finding, check="another-cluster", host="", severity=Severity.ERROR)
    if not api_leader.exists:
        return
    if cluster_name and api_leader.cluster_name and api_leader.cluster_name != cluster_name:
        yield another(
            found=(
                f"cluster_name is {cluster_name!r}, but the cluster of the inventory's control planes is "
                f"called {api_leader.cluster_name!r}"
            ),
            fix=(
                "check the inventory's addresses; if they are right, set cluster_name to "
                f"{api_leader.cluster_name}"
            ),
        )
    if kubeconfig_ca and not is_same_ca(kubeconfig_ca, api_leader.ca_certificate):
        yield another(
            found=(
                "the cluster of the inventory's control planes has a different CA certificate "
                f"({fingerprint(api_leader.ca_certificate)}) than the kubeconfig {kubeconfig} "
                f"({fingerprint(kubeconfig_ca)})"
            ),
            fix=(
                "check the inventory's addresses; if the cluster was recreated, move that file away or set "
                "another path with kubeconfig"
            ),
        )


def join_refusal(
    topology: Topology,
    *,
    node: Node,
    found: KubeadmNodeState,
    api_leader: ApiLeader,
    members: ClusterMembersState | None,
    endpoint: str,
) -> str:
    """Return why a machine must not be joined, as one sentence; empty if it may be joined."""
    findings = join_findings(
        topology, node=node, found=found, api_leader=api_leader, members=members, endpoint=endpoint
    )
    return next((finding.words for finding in findings), "")
