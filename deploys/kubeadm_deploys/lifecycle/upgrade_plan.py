"""Decide how a cluster is upgraded, from what was read. Nothing here contacts a machine.

The plan follows only from what is there, so the next run after an interrupted one makes the rest of it.
Source: Kubernetes documentation, "Upgrading kubeadm clusters".
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from kubeadm_deploys.cluster.live_options import ADD_ONS, add_on_releases, option_releases
from kubeadm_deploys.facts.upgrade_state import UpgradeReading
from kubeadm_deploys.lifecycle.upgrade_checks import (
    Readings,
    is_newer,
    is_version,
    minor,
    nodes_to_heal,
    version,
)
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import DEFAULT_RELEASES, RELEASE_NAMES, ClusterOptions
from kubeadm_deploys.operations.managed_files import differing_files
from kubeadm_deploys.sections import container_runtime, kube_packages

_STATIC_PODS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
"""The static pods with Kubernetes' release; kubeadm chooses etcd's."""


_ONLY_UNCORDON = ("uncordon",)
"""The parts of a node that is upgraded already and still cordoned by this package."""


class Kind(Enum):
    """What a step upgrades: a control plane's static pods, or a node's kubelet and container runtime."""

    STATIC_PODS = "static pods"
    NODE = "node"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of an upgrade on one node.

    ``apply`` is whether kubeadm upgrades the cluster with this control plane, ``drain`` whether the node is
    drained, and ``parts`` is what is upgraded, in words.
    """

    kind: Kind
    node: Node
    control_plane: bool
    apply: bool = False
    drain: bool = False
    parts: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """What the step does."""
        if self.kind is Kind.STATIC_PODS:
            return "kubeadm upgrade apply" if self.apply else "kubeadm upgrade node"
        return ", ".join([*(["drain"] if self.drain else []), *self.parts])


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The steps of an upgrade in order, and the ``warnings`` about them.

    ``target`` are the options with the releases that the cluster gets, ``releases`` the same as in the
    cluster's record. ``add_ons`` are the components that are applied after the last node, by their names in the
    record. ``begins`` is whether the record has to say that the upgrade has begun, and ``ends`` whether it has
    to be written at the end. ``left_out`` are the nodes that the operator has left out and that have steps.
    ``heals`` are the nodes that are not Ready before their steps: an earlier run has begun and not ended them.
    ``places`` are the nodes, these included, that ordinary pods can be scheduled to, or could but for a run of this
    package.
    """

    target: ClusterOptions
    releases: Mapping[str, str]
    steps: tuple[Step, ...] = ()
    add_ons: tuple[str, ...] = ()
    begins: bool = False
    ends: bool = False
    left_out: tuple[str, ...] = ()
    heals: frozenset[str] = frozenset()
    places: frozenset[str] = frozenset()
    differences: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def upgrades(self) -> bool:
        """Whether a node or an add-on is upgraded."""
        return bool(self.steps or self.add_ons)

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return self.upgrades or self.ends


OwnOptions = Callable[[ClusterOptions, str], ClusterOptions]
"""Returns options with those of a host, given by name, that may differ between hosts."""


def target_options(options: ClusterOptions, found: Mapping[str, str]) -> ClusterOptions:
    """Return the options with the releases that the cluster gets.

    ``found`` are the cluster's newest releases by option. A release that the user has not set is the package's
    default, or the cluster's own if that is newer.

    Raises:
        InputError: these releases do not go together.
    """
    kept = {
        name: release
        for name, release in found.items()
        if name not in options.given and is_newer(release, than=DEFAULT_RELEASES[name])
    }
    return options.following(kept)


def plan_of(
    topology: Topology,
    *,
    leader: str,
    target: ClusterOptions,
    found: Readings,
    own: OwnOptions,
    drain_always: bool = False,
) -> Plan:
    """Return what is left of the upgrade to the options ``target``; ``leader`` is the leader's host.

    With ``drain_always``, nodes are drained for a patch, too.

    First the static pods of the control planes, one by one, so that no kubelet is ever newer than an API
    server. Then the nodes that are not Ready because an earlier run has begun and not ended them. The kubelets of the
    control planes follow, the workers, and at last the add-ons. A node that an earlier run has drained comes first.

    Raises:
        DeployError: no checksum is known for a machine's architecture, or somebody else has configured a
            registry that has mirrors in the options.
        InputError: the password of a registry is not in the environment.
    """
    wanted = str(target.kubernetes_version)
    planes = sorted(topology.control_planes, key=lambda node: node.host != leader)
    unfinished = [
        node
        for node in planes
        if has_old_static_pods(found.machines[node.host].upgrade, wanted=wanted)
        # kubeadm may have been interrupted after the manifests; it does nothing twice.
        or found.nodes[node.name].kubelet != wanted
    ]
    apply = planes[0] if found.settings.kubernetes_version != wanted or unfinished == planes else None
    static_pods = [
        Step(kind=Kind.STATIC_PODS, node=node, control_plane=True, apply=node == apply)
        for node in planes
        if node == apply or node in unfinished
    ]
    heals = nodes_to_heal(topology, target=target, found=found)
    places = frozenset(
        status.name
        for status in found.nodes.values()
        if (status.ready or status.name in heals)
        and not status.dedicated
        and (not status.cordoned or status.claimed)
    )
    nodes = [
        Step(
            kind=Kind.NODE,
            node=node,
            control_plane=node in topology.control_planes,
            drain=parts != _ONLY_UNCORDON
            and (drain_always or is_other_minor(node, target=target, found=found))
            # Nodes with the taint of control planes have no ordinary pods.
            and not found.nodes[node.name].dedicated
            and bool(places - {node.name}),
            parts=parts,
        )
        for group in (planes, topology.workers)
        for node in sorted(group, key=lambda node: not found.nodes[node.name].claimed)
        if (parts := outdated_parts(node, options=own(target, node.host), found=found))
    ]
    steps = (*static_pods, *sorted(nodes, key=lambda step: step.node.name not in heals))
    # What the cloud needs may not be installed yet; a record without the pod network would mean that there is none.
    absent = {
        component
        for component in add_on_releases(target)
        if component != target.cni and not found.add_on(component)
    }
    releases = {
        "kubernetes": wanted,
        **{name: release for name, release in option_releases(target).items() if name not in absent},
    }
    record = found.settings.record
    recorded = {name: release for name, release in releases.items() if name != "kubernetes"}
    is_recorded = (record.releases or {}).items() >= recorded.items() and record.upgrade is None
    add_ons = tuple(_outdated_add_ons(target, found=found))
    upgrades = bool(steps or add_ons)
    return Plan(
        target=target,
        releases=releases,
        steps=steps,
        add_ons=add_ons,
        begins=upgrades and record.upgrade != releases,
        ends=upgrades or not is_recorded,
        heals=heals,
        places=places,
        differences=tuple(_differences(topology, target=target, found=found)),
        warnings=tuple(
            _warnings(
                steps, target=target, found=found, heals=heals, places=places, drain_always=drain_always
            )
        ),
    )


def _outdated_add_ons(target: ClusterOptions, *, found: Readings) -> Iterator[str]:
    """Yield the add-ons of another release; the record has the old one until all their pods are replaced."""
    for component, wanted in add_on_releases(target).items():
        if any(release != wanted for release in found.add_on(component)):
            yield component


def has_old_static_pods(found: UpgradeReading, *, wanted: str) -> bool:
    """Return whether the manifests of Kubernetes' own static pods name another release."""
    return any(found.images.get(name) != wanted for name in _STATIC_PODS)


def outdated_parts(node: Node, *, options: ClusterOptions, found: Readings) -> tuple[str, ...]:
    """Return what has to be done on a node besides its static pods, in words; empty if nothing."""
    read, status = found.machines[node.host], found.nodes[node.name]
    wanted = str(options.kubernetes_version)
    packages_differ = (
        any(
            not read.packages.versions.get(package, "").startswith(f"{wanted}-")
            for package in kube_packages.KUBERNETES_PACKAGES
        )
        or not read.packages.held.issuperset(kube_packages.HELD_PACKAGES)
        or bool(differing_files(wanted=kube_packages.apt_files(options), found=read.packages.files))
    )
    # Raises here, before any change, what would fail later.
    runtime_changes = next(container_runtime.upgrade_commands(found=read.runtime, options=options), None)
    outdated = container_runtime.outdated_components(found=read.runtime, options=options)
    names = {"containerd": "containerd", "runc": "runc", "cni_plugins": "CNI plugins"}
    parts = [name for component, name in names.items() if component in outdated]
    if runtime_changes is not None and not parts:
        parts = ["containerd's configuration"]
    if packages_differ or status.kubelet != wanted:
        parts = ["kubelet", *parts]
    return (*parts, *(_ONLY_UNCORDON if status.claimed else ()))


def is_other_minor(node: Node, *, target: ClusterOptions, found: Readings) -> bool:
    """Return whether a node's running kubelet or containerd has another minor than the target."""
    status = found.nodes[node.name]
    runtime = status.container_runtime.rpartition(" ")[2]
    return minor(status.kubelet) != target.kubernetes_version.minor or (
        is_version(runtime) and version(runtime).release[:2] != target.containerd_version.release[:2]
    )


def _differences(topology: Topology, *, target: ClusterOptions, found: Readings) -> Iterator[str]:
    """Yield which releases change, as for a headline."""
    runtimes = [
        container_runtime.installed_releases(found.machines[node.host].runtime) for node in topology.nodes
    ]
    has = {
        "kubernetes_version": {status.kubelet for status in found.nodes.values()}
        | {found.settings.kubernetes_version},
        "containerd_version": {releases.get("containerd", "") for releases in runtimes},
        "runc_version": {releases.get("runc", "") for releases in runtimes},
        "cni_plugins_version": {releases.get("cni-plugins", "") for releases in runtimes},
        **{ADD_ONS[component]: set(found.add_on(component)) for component in add_on_releases(target)},
    }
    for name, releases in has.items():
        wanted = str(getattr(target, name))
        if others := sorted(filter(None, releases - {wanted})):
            yield f"{RELEASE_NAMES[name]} {', '.join(others)} to {wanted}"


def _warnings(
    steps: tuple[Step, ...],
    *,
    target: ClusterOptions,
    found: Readings,
    heals: Collection[str],
    places: frozenset[str],
    drain_always: bool,
) -> Iterator[str]:
    for step in steps:
        if step.kind is Kind.STATIC_PODS:
            read = found.machines[step.node.host].upgrade
            if has_old_static_pods(read, wanted=str(target.kubernetes_version)) and not read.compared:
                yield f"{step.node.name}: it is not known whether kubeadm would undo changes in its manifests"
            continue
        status = found.nodes[step.node.name]
        if step.node.name in heals:
            yield f"{step.node.name} is not Ready; its upgrade has begun and not ended, and goes on before that of others"
        if status.cordoned and not status.claimed:
            yield f"{step.node.name} is cordoned, and stays so"
        other_minor = is_other_minor(step.node, target=target, found=found)
        if (other_minor or drain_always) and not status.dedicated and not places - {step.node.name}:
            unsupported = ", which Kubernetes does not support for another minor" if other_minor else ""
            yield (
                f"{step.node.name} is not drained, because no other node takes its pods; they go on running "
                f"while its kubelet is replaced{unsupported}"
            )


def text(plan: Plan, *, cluster: str, backup: bool) -> list[str]:
    """Return the lines of a plan for people."""
    if not plan.changes:
        if plan.left_out:
            return [f"The chosen nodes of cluster {cluster} have these releases; {left_out(plan)}"]
        return [f"Cluster {cluster} has these releases: nothing to upgrade"]
    lines = [f"Upgrade of cluster {cluster}: {'; '.join(plan.differences) or 'the rest of an earlier run'}"]
    if backup and plan.upgrades:
        lines.append("    backup       of etcd, keys and configuration, into a file here")
    width = max((len(step.node.name) for step in plan.steps), default=0)
    lines += [f"    {step.node.name:{width}}  {step.words}" for step in plan.steps]
    lines += [f"    {RELEASE_NAMES[ADD_ONS[name]]}, for the whole cluster" for name in plan.add_ons]
    if plan.left_out:
        lines.append(f"    {left_out(plan)}")
    lines += [f"    Warning: {warning}" for warning in plan.warnings]
    if plan.steps:
        least, most = _minutes(plan.steps)
        lines.append(
            f"    It takes about {least} to {most} minutes, plus the time that drained pods take to end"
        )
    return lines


def left_out(plan: Plan) -> str:
    """Return which nodes a run leaves out, and how to upgrade them."""
    return f"left out: {', '.join(plan.left_out)}; the upgrade ends with a run of deploys/upgrade.py that leaves out none"


def _minutes(steps: tuple[Step, ...]) -> tuple[int, int]:
    static_pods = sum(step.kind is Kind.STATIC_PODS for step in steps)
    nodes = len(steps) - static_pods
    return max(1, static_pods + nodes // 2), 1 + 4 * static_pods + 2 * nodes
