"""Through which control plane a run speaks to the cluster, decided from what was read on all of them.

Nothing here asks a machine. ``NotRead`` stands where a machine gave no answer: it is never an empty machine.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState, certificates, is_same_ca
from kubeadm_deploys.facts.reading import NotRead
from kubeadm_deploys.nodes import Node, Topology

UNREACHABLE_CURE = "make it reachable, or take it out of the inventory"
"""The fix when a control plane cannot be reached."""

SILENT_CURE = "find out why with 'journalctl --unit kubelet' and 'crictl ps --all' there, then run again"
"""The fix when no control plane's API server answers."""


@dataclass(frozen=True, kw_only=True)
class Election:
    """Through which control plane a run speaks to the cluster, and what it is.

    ``leader`` is its host's name for pyinfra. ``exists`` is whether there is a cluster, ``healthy`` are the control
    planes whose API server answers, and ``problem`` says why the cluster cannot be used as it is, empty if it can.
    ``cluster_name`` is the name in the leader's admin.conf, empty without one. ``stored_nothing`` is whether the leader
    has an etcd without a single object, of an init that ended before its API server was there.
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
        """Whether there is a cluster whose API server can be asked."""
        return self.exists and not self.problem

    def usable(self, topology: Topology) -> tuple[Node, ...]:
        """The control planes whose API server answers, the leader first; the leader alone where there is none yet."""
        leader = topology.node(self.leader)
        return (leader, *(node for node in self.healthy if node != leader))


Found = Mapping[str, KubeadmNodeState | NotRead]
"""What was read on control planes, by host."""


def elect(
    topology: Topology, *, found: Found, able: frozenset[str], before: Election | None = None
) -> Election:
    """Choose the leader: the first control plane whose API server answers, and where there is none yet, the first.

    ``able`` are the hosts that can still be told to do something in this run. ``before`` is what an earlier reading of
    the same run decided: a cluster that existed then has not stopped to exist because it cannot be read now.
    """
    election = _elect(topology, found=found, able=able)
    if before is None or not before.exists:
        return election
    if not election.exists:
        return replace(
            before,
            healthy=(),
            problem=(
                "the cluster that was there at the beginning of this run cannot be found any more: "
                f"{_seen(topology.control_planes, found)}; run again when its control planes answer"
            ),
        )
    if not is_same_ca(election.ca_certificate, before.ca_certificate):
        name = topology.node(election.leader).name
        changed = (
            f"{name} has another CA certificate than at the beginning of this run "
            f"({fingerprint(election.ca_certificate)} instead of {fingerprint(before.ca_certificate)}); run again"
        )
        # Without one, what is wrong has been said.
        return replace(before, healthy=(), problem=changed if election.ca_certificate else election.problem)
    return election


def _elect(topology: Topology, *, found: Found, able: frozenset[str]) -> Election:
    nodes = topology.control_planes
    members = [node for node in nodes if has_cluster(found[node.host])]
    healthy = tuple(node for node in members if _state(found, node).api == "ok")
    for candidates in (healthy, members):
        if candidates:
            leader = next((node for node in candidates if node.host in able), candidates[0])
            state = _state(found, leader)
            return Election(
                leader=leader.host,
                exists=True,
                healthy=healthy,
                ca_certificate=state.ca_certificate,
                cluster_name=state.cluster_name,
                problem=different_clusters(members, found)
                or ("" if healthy else f"no API server answers: {_seen(nodes, found)}; {SILENT_CURE}"),
            )
    # kubeadm's files on one of them are of an init that did not come as far as to store anything.
    began = [node for node in nodes if _state(found, node).files and _state(found, node).is_control_plane]
    candidates = [node for node in (*began, *nodes) if node.host in able]
    leader = next(iter(candidates), nodes[0])
    unread = [node for node in nodes if isinstance(found[node.host], NotRead)]
    return Election(
        leader=leader.host,
        exists=False,
        problem=(
            f"no control plane that answers has a cluster, but {_seen(unread, found)}, and may have one; "
            f"no cluster was created; {UNREACHABLE_CURE}"
            if unread
            else ""
        ),
    )


def different_clusters(members: list[Node], found: Found) -> str:
    """That the control planes are not shown to be of one cluster and what to do, empty when they are.

    Without the cluster's CA certificate no machine could be told from one of another cluster.
    """
    if unknown := [node.name for node in members if not _state(found, node).ca_certificate.strip()]:
        return (
            f"{', '.join(unknown)} {'have' if len(unknown) > 1 else 'has'} no CA certificate in "
            "/etc/kubernetes/pki/ca.crt, so nothing shows which cluster that is; no changes were made; put it back from "
            "another control plane or from a backup"
        )
    by_ca: dict[str, list[str]] = {}
    for node in members:
        ca = _state(found, node).ca_certificate
        known = next((each for each in by_ca if is_same_ca(each, ca)), ca)
        by_ca.setdefault(known, []).append(node.name)
    if len(by_ca) < 2:
        return ""
    each = "; ".join(f"{', '.join(names)} (CA {fingerprint(ca)})" for ca, names in by_ca.items())
    return (
        f"the inventory's control planes belong to {len(by_ca)} different clusters: {each}; no changes were made; "
        "take those of other clusters out of the inventory"
    )


def fingerprint(certificate: str) -> str:
    """The first digits of a certificate's sha256, by which people can compare two; "none" without one."""
    return hashlib.sha256(min(certificates(certificate))).hexdigest()[:12] if certificate.strip() else "none"


def has_cluster(found: KubeadmNodeState | NotRead) -> bool:
    """Whether a machine that answered has a control plane of a cluster."""
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
            return "has etcd data and no kubelet.conf, so nothing runs there (deploys/reset.py deletes both)"
        if missing:
            return f"lacks the manifest of {', '.join(missing)}"
        return state.api or "has none"

    return "; ".join(f"{node.name} {of(node)}" for node in nodes)
