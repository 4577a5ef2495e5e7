"""Choose the control plane through which a run reaches the cluster, from what was read on all of them.

Nothing here contacts a machine. ``NotRead`` means that a machine gave no answer; such a machine never counts
as empty.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from kubeadm_deploys.facts.kubeadm_node import FROM_DISK, KubeadmNodeState, certificates, is_same_ca
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.remote.reading import NotRead

UNREACHABLE_FIX = "make it reachable, or take it out of the inventory"
"""The fix when a control plane cannot be reached."""

SILENT_FIX = "find out why with 'journalctl --unit kubelet' and 'crictl ps --all' there, then run again"
"""The fix when no control plane's API server answers."""


@dataclass(frozen=True, kw_only=True)
class ApiLeader:
    """The control plane through which a run reaches the cluster, and the state of that cluster.

    ``leader`` is pyinfra's name of its host, ``exists`` whether a cluster exists, ``healthy`` are the control
    planes whose API server answers, and ``problem`` says why the cluster cannot be used; it is empty if the
    cluster can be used. ``cluster_name`` is the name in the leader's admin.conf, empty without that file.
    ``stored_nothing`` is whether the leader's etcd holds no object at all, because an init ended before its
    API server ran.
    """

    leader: str
    exists: bool
    healthy: tuple[Node, ...] = ()
    ca_certificate: str = ""
    cluster_name: str = ""
    problem: str = ""
    stored_nothing: bool = False

    @property
    def api_answers(self) -> bool:
        """Whether a cluster exists and its API server answers."""
        return self.exists and not self.problem

    def healthy_control_planes(self, topology: Topology) -> tuple[Node, ...]:
        """Return the control planes whose API server answers, leader first; if none does, only the leader."""
        leader = topology.node(self.leader)
        return (leader, *(node for node in self.healthy if node != leader))


Found = Mapping[str, KubeadmNodeState | NotRead]
"""What was read on the control planes, by host."""


def choose_leader(
    topology: Topology, *, found: Found, able: frozenset[str], before: ApiLeader | None = None
) -> ApiLeader:
    """Choose the leader: the first control plane whose API server answers, otherwise the first one.

    ``able`` are the hosts that have not failed in this run. ``before`` is what an earlier reading of the same
    run decided: a cluster that existed then still exists, even if it cannot be read now.
    """
    api_leader = _choose_leader(topology, found=found, able=able)
    if before is None or not before.exists:
        return api_leader
    if not api_leader.exists:
        return replace(
            before,
            healthy=(),
            problem=(
                "the cluster that existed when this run began can no longer be found: "
                f"{_seen(topology.control_planes, found)}; run again when its control planes answer"
            ),
        )
    if not is_same_ca(api_leader.ca_certificate, before.ca_certificate):
        name = topology.node(api_leader.leader).name
        changed = (
            f"{name} has a different CA certificate than when this run began "
            f"({fingerprint(api_leader.ca_certificate)} instead of {fingerprint(before.ca_certificate)}); run again"
        )
        # Without a CA certificate, the problem already says so.
        return replace(
            before, healthy=(), problem=changed if api_leader.ca_certificate else api_leader.problem
        )
    return api_leader


def _choose_leader(topology: Topology, *, found: Found, able: frozenset[str]) -> ApiLeader:
    nodes = topology.control_planes
    members = [node for node in nodes if has_cluster(found[node.host])]
    healthy = tuple(node for node in members if _state(found, node).api == "ok")
    for candidates in (healthy, members):
        if candidates:
            leader = next((node for node in candidates if node.host in able), candidates[0])
            state = _state(found, leader)
            return ApiLeader(
                leader=leader.host,
                exists=True,
                healthy=healthy,
                ca_certificate=state.ca_certificate,
                cluster_name=state.cluster_name,
                problem=_unusable(nodes, members, found)
                or ("" if healthy else f"no API server answers: {_seen(nodes, found)}; {SILENT_FIX}"),
            )
    # These have files of an init that ended before it stored anything: it continues there.
    began = [node for node in nodes if _state(found, node).files and _state(found, node).is_control_plane]
    candidates = [node for node in (*began, *nodes) if node.host in able]
    leader = next(iter(candidates), nodes[0])
    unread = [node for node in nodes if isinstance(found[node.host], NotRead)]
    return ApiLeader(
        leader=leader.host,
        exists=False,
        problem=(
            f"{unfinished}; no cluster was created; {restore_fix(nodes, found)}"
            if (unfinished := unfinished_restore(nodes, found))
            else f"no control plane that answers has a cluster, but {_seen(unread, found)}, and may have one; "
            f"no cluster was created; {UNREACHABLE_FIX}"
            if unread
            else ""
        ),
    )


def unfinished_restore(nodes: Collection[Node], found: Found) -> str:
    """Return on which control planes a restore has not ended, empty if on none."""
    restoring = [node.name for node in nodes if _state(found, node).restoring]
    if not restoring:
        return ""
    return (
        f"{', '.join(restoring)}: a restore from a {_restored_from(nodes, found)} has begun and has not ended"
    )


def restore_fix(nodes: Collection[Node], found: Found) -> str:
    """Return what to do about a restore that has not ended on some control planes.

    Others that serve the cluster have been restored without these, or were not stopped: restoring again would give
    up what they have stored since.
    """
    restoring = [node.name for node in nodes if _state(found, node).restoring]
    others = [
        node.name for node in nodes if _state(found, node).api == "ok" and not _state(found, node).restoring
    ]
    backup = _restored_from(nodes, found) == "backup"
    if not others:
        return (
            f"finish it with the command that began it: deploys/restore.py --data {'backup=FILE' if backup else 'from=disk'} --data "
            "confirm=CLUSTER_NAME"
        )
    kept = (
        f"the cluster works on {', '.join(others)}; to keep it as it is there, clean {', '.join(restoring)}, which deletes "
        "the data there: deploys/reset.py --limit HOST --data confirm=CLUSTER_NAME --data force=true"
    )
    given_up = "; to give it up for the backup: deploys/restore.py with --data force=true"
    return kept + (given_up if backup else "")


def _restored_from(nodes: Collection[Node], found: Found) -> str:
    """Return from what a restore has begun that has not ended: a disk or a backup."""
    records = [_state(found, node).restoring for node in nodes]
    return "disk" if any(record.startswith(FROM_DISK) for record in records) else "backup"


def _unusable(nodes: tuple[Node, ...], members: list[Node], found: Found) -> str:
    if unfinished := unfinished_restore(nodes, found):
        return f"{unfinished}; no changes were made; {restore_fix(nodes, found)}"
    return different_clusters(members, found)


def different_clusters(members: list[Node], found: Found) -> str:
    """Return why the control planes may belong to different clusters and what to do, empty if they do not.

    Without the cluster's CA certificate, machines of other clusters could not be recognised. After a restore
    from a backup, machines of before still have the CA, but another etcd cluster.
    """
    if unknown := [node.name for node in members if not _state(found, node).ca_certificate.strip()]:
        return (
            f"{', '.join(unknown)} {'have' if len(unknown) > 1 else 'has'} no CA certificate in "
            "/etc/kubernetes/pki/ca.crt, so it is not known to which cluster that belongs; no changes were "
            "made; restore it from another control plane or a backup"
        )
    by_ca: dict[str, list[str]] = {}
    for node in members:
        ca = _state(found, node).ca_certificate
        known_ca = next((known for known in by_ca if is_same_ca(known, ca)), ca)
        by_ca.setdefault(known_ca, []).append(node.name)
    if len(by_ca) < 2:
        return _different_etcd(members, found)
    clusters = "; ".join(f"{', '.join(names)} (CA {fingerprint(ca)})" for ca, names in by_ca.items())
    return (
        f"the inventory's control planes belong to {len(by_ca)} different clusters: {clusters}; no changes "
        "were made; take those of other clusters out of the inventory"
    )


def _different_etcd(members: list[Node], found: Found) -> str:
    """Return that control planes of one CA serve different etcd clusters, empty if they do not.

    Whether their API servers answer does not matter: one that has just been restored may be restarting.
    """
    by_id: dict[str, list[str]] = {}
    for node in members:
        state = _state(found, node)
        if state.etcd_cluster:
            by_id.setdefault(state.etcd_cluster, []).append(node.name)
    if len(by_id) < 2:
        return ""
    clusters = "; ".join(f"{', '.join(names)} (etcd cluster {number})" for number, names in by_id.items())
    return (
        f"the inventory's control planes serve {len(by_id)} different etcd clusters: {clusters}; no changes were "
        "made; if one of them was restored from a backup, clean the machines of the other one, which deletes "
        "its data: deploys/reset.py --limit HOST --data confirm=CLUSTER_NAME --data force=true"
    )


def fingerprint(certificate: str) -> str:
    """Return the first digits of a certificate's SHA-256, for people to compare; "none" if it is empty."""
    return hashlib.sha256(min(certificates(certificate))).hexdigest()[:12] if certificate.strip() else "none"


def has_cluster(found: KubeadmNodeState | NotRead) -> bool:
    """Return whether a machine answered and is a control plane with a cluster."""
    return isinstance(found, KubeadmNodeState) and found.has_cluster


def _state(found: Found, node: Node) -> KubeadmNodeState:
    state = found[node.host]
    return state if isinstance(state, KubeadmNodeState) else KubeadmNodeState()


def _seen(nodes: Collection[Node], found: Found) -> str:
    def of(node: Node) -> str:
        state = found[node.host]
        if isinstance(state, NotRead):
            return f"could not be read ({state.reason})" if state.reached else "cannot be reached"
        missing = [name for name in state.missing_manifests if state.has_cluster]
        if missing and "kubelet.conf" not in state.files:
            return "has etcd data but no kubelet.conf, so nothing runs on it (deploys/reset.py cleans it)"
        if missing:
            return f"lacks the manifest of {', '.join(missing)}"
        return state.api or "has none"

    return "; ".join(f"{node.name} {of(node)}" for node in nodes)
