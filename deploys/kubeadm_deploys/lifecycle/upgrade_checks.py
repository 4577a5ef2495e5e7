"""Decide whether a cluster may be upgraded, from what was read. Nothing here contacts a machine.

Source: Kubernetes documentation, "Version Skew Policy".
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from kubeadm_deploys.cluster.live_configuration import LIVE
from kubeadm_deploys.cluster.live_options import ADD_ONS
from kubeadm_deploys.cluster.membership import membership_state
from kubeadm_deploys.cluster.quorum import unlisted_members
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.cluster_settings import ClusterSettingsState
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState, NodeState
from kubeadm_deploys.facts.machine import MachineState
from kubeadm_deploys.facts.node_status import NodeStatusState
from kubeadm_deploys.facts.upgrade_state import UpgradeReading
from kubeadm_deploys.model.cluster_configuration import OURS
from kubeadm_deploys.model.errors import some
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import RELEASE_NAMES, ClusterOptions
from kubeadm_deploys.sections import container_runtime
from kubeadm_deploys.sections.container_runtime import ContainerRuntimeState
from kubeadm_deploys.sections.kube_packages import KubePackagesState

_OLDER_KUBELETS = 3
_SPARE_MIB = 1024
"""Room beside kubeadm's copy of etcd's data."""

_REMOVED_FLAGS = {"--pod-infra-container-image": 35}
"""Kubelet flags by the minor with which a kubelet no longer starts with them."""

_WITH_ETCD_3_6 = 34
_LAST_ETCD_3_5 = "3.5.26"
"""The minor from which kubeadm brings etcd 3.6, and the oldest 3.5 whose members it takes over rightly.

Source: etcd's website, "Upgrade etcd from v3.5 to v3.6".
"""

_NO_CGROUP_V1 = 35
"""The minor from which a kubelet refuses cgroup v1 unless failCgroupV1 is false."""

_TO_COME = frozenset(
    f"{LIVE[component]}.yaml lacks - --{each['name']}={each['value']}"
    for component, arguments in OURS.items()
    for each in arguments
)
"""What later manifests lack while an upgrade is unfinished that has given it to the cluster's configuration."""


@dataclass(frozen=True, kw_only=True)
class MachineReadings:
    """What was read on one machine."""

    kubeadm: KubeadmNodeState
    machine: MachineState
    packages: KubePackagesState
    runtime: ContainerRuntimeState
    upgrade: UpgradeReading


@dataclass(frozen=True, kw_only=True)
class Readings:
    """What was read on all machines, by host, and what the cluster reports.

    ``nodes`` are Node objects by name, ``unhealthy`` is why the control planes are not whole.
    """

    machines: Mapping[str, MachineReadings]
    nodes: Mapping[str, NodeStatusState]
    members: ClusterMembersState
    settings: ClusterSettingsState
    cluster_ca: str
    unhealthy: tuple[str, ...] = ()

    def add_on(self, component: str) -> list[str]:
        """Return the known releases of an add-on, recorded and running; none if it is not installed."""
        recorded = (self.settings.record.releases or {}).get(component, "")
        return list(filter(None, (recorded, self.settings.running(component))))


def found_releases(topology: Topology, found: Readings) -> dict[str, str]:
    """Return the newest release of each component in the cluster by option, without those that are unknown."""
    runtimes = [found.machines[node.host].runtime for node in topology.nodes]
    components = [container_runtime.installed_releases(runtime) for runtime in runtimes]
    releases = {
        "kubernetes_version": [found.settings.kubernetes_version],
        "containerd_version": [each.get("containerd", "") for each in components],
        "runc_version": [each.get("runc", "") for each in components],
        "cni_plugins_version": [each.get("cni-plugins", "") for each in components],
        **{option: found.add_on(component) for component, option in ADD_ONS.items()},
    }
    newest = {name: max(filter(None, values), key=version, default="") for name, values in releases.items()}
    return {name: release for name, release in newest.items() if release}


def refusals(
    topology: Topology,
    *,
    target: ClusterOptions,
    found: Readings,
    discard_edits: bool = False,
) -> list[str]:
    """Return every reason why the cluster must not be upgraded now, each with its fix.

    With ``discard_edits``, what people have changed in manifests of static pods may be lost.
    """
    return [
        *_members(topology, found),
        *found.unhealthy,
        *_not_ready(topology, target=target, found=found),
        *_kubernetes(topology, target=target, found=found),
        *_components(topology, target=target, found=found),
        *_machines(topology, target=target, found=found),
        *(
            _unfinished_change(found)
            or (() if discard_edits else _edits(topology, target=target, found=found))
        ),
    ]


def _members(topology: Topology, found: Readings) -> Iterator[str]:
    # During an upgrade cluster.py joins nothing.
    fix = (
        "before the upgrade, join it with deploys/cluster.py and the cluster's releases, or take it out of the inventory"
        if found.settings.record.upgrade is None
        else (
            "take it out of the inventory until the upgrade has ended, and join it then; remove a lost node with "
            "deploys/remove_node.py"
        )
    )
    for node in topology.nodes:
        state = membership_state(
            found.machines[node.host].kubeadm,
            node=node,
            control_plane=node in topology.control_planes,
            cluster_ca=found.cluster_ca,
            members=found.members,
        )
        if state is not NodeState.MEMBER or node.name not in found.nodes:
            what = {
                NodeState.PARTIAL: "its join did not finish",
                NodeState.FOREIGN: "belongs to another cluster",
            }.get(state, "is not a node of the cluster")
            yield f"{node.name}: {what}; {fix}"
    for name in unlisted_members(topology, found=found.members):
        yield f"{name}: is a control plane that is not in the inventory; add it, or remove it with deploys/remove_node.py"
    known = {node.name for node in topology.nodes} | {member.name for member in found.members.etcd}
    for name in sorted(found.nodes.keys() - known):
        yield f"{name}: is a node that is not in the inventory; add it, or remove it with deploys/remove_node.py"


def _not_ready(topology: Topology, *, target: ClusterOptions, found: Readings) -> Iterator[str]:
    for node in topology.nodes:
        status = found.nodes.get(node.name)
        if status and not status.ready and not is_in_progress(node, target=target, found=found):
            yield (
                f"{node.name}: is not Ready; find out why with 'journalctl --unit kubelet' and 'journalctl --unit containerd' "
                "on it, or remove it with deploys/remove_node.py"
            )


def is_in_progress(node: Node, *, target: ClusterOptions, found: Readings) -> bool:
    """Return whether an upgrade of a node's kubelet or containerd has begun and not ended: it may not be Ready therefore."""
    read, status = found.machines[node.host], found.nodes[node.name]
    wanted = str(target.kubernetes_version)
    if read.packages.versions.get("kubelet", "").startswith(f"{wanted}-") and (
        status.claimed or status.kubelet != wanted
    ):
        return True
    upgrade = found.settings.record.upgrade
    if upgrade is None:
        return False
    # An earlier run may have installed a containerd that does not serve, and this one has another.
    is_replaced = "containerd" in container_runtime.outdated_components(
        found=read.runtime, options=target
    ) and read.runtime.versions.get("containerd") == upgrade.get("containerd")
    return is_replaced or not container_runtime.runs_well(read.runtime)


def nodes_to_heal(topology: Topology, *, target: ClusterOptions, found: Readings) -> frozenset[str]:
    """Return the names of the nodes that are not Ready because their upgrade has begun and not ended."""
    return frozenset(
        node.name
        for node in topology.nodes
        if not found.nodes[node.name].ready and is_in_progress(node, target=target, found=found)
    )


def _kubernetes(topology: Topology, *, target: ClusterOptions, found: Readings) -> Iterator[str]:
    wanted = str(target.kubernetes_version)
    cluster = found.settings.kubernetes_version
    servers = {
        node.name: found.machines[node.host].upgrade.images.get("kube-apiserver", "")
        for node in topology.control_planes
    }
    if unknown := [name for name, release in servers.items() if not is_version(release)]:
        yield (
            f"{some(unknown)}: the release of its API server cannot be read from its manifest; compare "
            "/etc/kubernetes/manifests/kube-apiserver.yaml with that of another control plane"
        )
        return
    newest = max([cluster, *servers.values()], key=version)
    oldest = min([cluster, *servers.values()], key=version)
    if is_newer(newest, than=wanted):
        yield (
            f"kubernetes_version is {wanted}, but the cluster has {newest}, and there is no way down; set "
            f"kubernetes_version to {newest}, or leave it out"
        )
        return
    if minor(wanted) > minor(oldest) + 1:
        yield (
            f"kubernetes_version is {wanted}, but the cluster has {oldest}, and an upgrade goes one minor at a "
            f"time; set kubernetes_version to a release of 1.{minor(oldest) + 1} first"
        )
    oldest_server = min(servers.values(), key=version)
    for name, status in found.nodes.items():
        if not is_version(status.kubelet):
            continue
        if minor(status.kubelet) > minor(oldest_server):
            yield (
                f"{name}: its kubelet has {status.kubelet}, which is newer than the API server's {oldest_server}; "
                f"install a kubelet of 1.{minor(oldest_server)} on it, or remove the node with "
                "deploys/remove_node.py"
            )
        if minor(status.kubelet) < minor(wanted) - _OLDER_KUBELETS:
            yield (
                f"{name}: its kubelet has {status.kubelet}, which is more than three minors older than {wanted}; "
                "remove the node with deploys/remove_node.py, and join it again"
            )


def _components(topology: Topology, *, target: ClusterOptions, found: Readings) -> Iterator[str]:
    for name, has in found_releases(topology, found).items():
        wanted = str(getattr(target, name))
        if name != "kubernetes_version" and is_newer(has, than=wanted):
            yield (
                f"{name} is {wanted}, but the cluster has {RELEASE_NAMES[name]} {has}, and there is no way down; "
                f"set {name} to {has}, or leave it out"
            )
    wanted_containerd = str(target.containerd_version)
    for node in topology.nodes:
        has = found.machines[node.host].runtime.versions.get("containerd", "")
        if is_version(has) and not _containerd_may_follow(wanted_containerd, has=has):
            yield (
                f"{node.name}: containerd_version is {wanted_containerd}, but it has {has}, and containerd is "
                "upgraded one minor at a time; set containerd_version to a release of the next minor first"
            )


def _containerd_may_follow(wanted: str, *, has: str) -> bool:
    """Return whether containerd may be upgraded at once. Source: containerd's RELEASES.md, "Upgrade Path"."""
    before, after = version(has), version(wanted)
    if before.major == after.major:
        return after.minor <= before.minor + 1
    return (before.major, before.minor, after.major, after.minor) == (1, 7, 2, 0)


def _machines(topology: Topology, *, target: ClusterOptions, found: Readings) -> Iterator[str]:
    wanted = target.kubernetes_version.minor
    kubelet = found.settings.kubelet or {}
    for node in topology.nodes:
        read = found.machines[node.host]
        if node in topology.control_planes and read.upgrade.free < read.upgrade.etcd + _SPARE_MIB:
            yield (
                f"{node.name}: /etc/kubernetes has {read.upgrade.free} MiB free, and kubeadm's copy of etcd's data "
                f"needs {read.upgrade.etcd + _SPARE_MIB} MiB; free some space there, for example that of old "
                "folders in /etc/kubernetes/tmp"
            )
        etcd = read.upgrade.images.get("etcd", "").partition("-")[0]
        is_3_5 = version(etcd).release[:2] == (3, 5)
        if wanted >= _WITH_ETCD_3_6 and is_3_5 and is_newer(_LAST_ETCD_3_5, than=etcd):
            yield (
                f"{node.name}: etcd {etcd} must not be upgraded to 3.6, which takes some of its members for learners; "
                f"upgrade it to {_LAST_ETCD_3_5} or newer first, by a newer patch release of Kubernetes or the image of "
                "its manifest"
            )
        for removed, since in _REMOVED_FLAGS.items():
            if wanted >= since and removed in read.machine.kubelet_arguments:
                yield f"{node.name}: a kubelet of 1.{wanted} does not start with {removed}; remove it from /etc/default/kubelet"
        tolerated = node.kubelet_configuration.get("failCgroupV1", kubelet.get("failCgroupV1")) is False
        if read.machine.cgroup == 1 and wanted >= _NO_CGROUP_V1 and not tolerated:
            yield (
                f"{node.name}: has cgroup v1, with which a kubelet of 1.{wanted} does not start; boot it with cgroup "
                "v2, or set failCgroupV1 to false in the ConfigMap kubelet-config of kube-system"
            )


def _unfinished_change(found: Readings) -> list[str]:
    """Return that nodes may have different configurations, unless an upgrade has begun: then cluster.py does nothing."""
    record = found.settings.record
    recorded = record.configuration
    if record.upgrade is not None or not recorded:
        return []
    changes = {
        "the control planes": recorded.pending,
        "the kubelets": recorded.kubelet_pending,
        "kube-proxy": recorded.kube_proxy_pending,
    }
    return [
        f"a change of the configuration of {what} has begun and not ended; finish it, or take it back, with "
        "deploys/cluster.py and the cluster's releases"
        for what, pending in changes.items()
        if pending
    ]


def _edits(topology: Topology, *, target: ClusterOptions, found: Readings) -> Iterator[str]:
    for node in topology.control_planes:
        read = found.machines[node.host].upgrade
        to_come = _TO_COME if found.settings.record.upgrade is not None else frozenset()
        edits = [edit for edit in read.edits if edit not in to_come]
        if edits and read.images.get("kube-apiserver") != str(target.kubernetes_version):
            yield (
                f"{node.name}: kubeadm would undo what was changed in its manifests ({'; '.join(edits)}); put it "
                "into ClusterConfiguration of the ConfigMap kubeadm-config, or add --data discard_edits=true"
            )


def is_newer(release: str, *, than: str) -> bool:
    """Return whether a release is newer than another one."""
    return version(release) > version(than)


def version(release: str) -> Version:
    """Return a release for comparisons; text that is not a release is the oldest."""
    try:
        return Version(release)
    except InvalidVersion:
        return Version("0")


def minor(release: str) -> int:
    """Return the minor of a Kubernetes release, 0 if the text is not one."""
    match = re.match(r"1\.(\d+)", release)
    return int(match[1]) if match else 0


def is_version(release: str) -> bool:
    return version(release) > Version("0")
