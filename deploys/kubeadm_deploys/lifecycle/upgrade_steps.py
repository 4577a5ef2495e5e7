"""The steps of an upgrade. Each begins with what is on the machine, so that the next run can repeat it.

Any failure raises a ``DeployError``: the run stops there, and leaves the other nodes as they are.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from gevent import sleep
from pyinfra import inventory
from pyinfra.api import Host, State
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import DeployError, PyinfraError
from pyinfra.connectors.util import CommandOutput

from kubeadm_deploys.cluster import draining, kubectl
from kubeadm_deploys.cluster.kubeadm import NO_DOCUMENT, kubeadm
from kubeadm_deploys.cluster.leader import wait_for_kubeadm
from kubeadm_deploys.cluster.members import ask_settings
from kubeadm_deploys.cluster.reconfiguring import Stopped, upload
from kubeadm_deploys.cluster.recording import WRITE
from kubeadm_deploys.documents.cluster_record import ClusterRecord
from kubeadm_deploys.facts.cluster_health import WorkloadsAvailable
from kubeadm_deploys.facts.cluster_settings import ClusterSettings
from kubeadm_deploys.facts.node_status import NodeStatuses, NodeStatusState
from kubeadm_deploys.facts.upgrade_state import KubeletThroughApi, UpgradeState, WholeWorkloads
from kubeadm_deploys.lifecycle.upgrade_gates import (
    await_answer,
    await_upgraded,
    await_whole,
)
from kubeadm_deploys.lifecycle.upgrade_plan import (
    Kind,
    OwnOptions,
    Plan,
    Step,
    has_old_static_pods,
    left_out,
)
from kubeadm_deploys.model.cluster_configuration import with_ours
from kubeadm_deploys.model.errors import some
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations import units
from kubeadm_deploys.remote import direct
from kubeadm_deploys.remote.answers import Reading
from kubeadm_deploys.remote.reading import NotRead, ask, in_parallel, wait
from kubeadm_deploys.sections import container_runtime, kube_packages

_LINES = 15
"""Lines of a failed command's output that an error repeats."""

_SECONDS_A_NODE = 60
"""Seconds in which the pod of a DaemonSet is replaced on a node, at most."""

_TRIES, _PAUSE = 5, 4
"""How often a short command is tried, and the seconds between."""


@dataclass(frozen=True, kw_only=True)
class AddOn:
    """What runs as pods and is applied from a ``folder`` of each control plane.

    ``commands`` gets a control plane and its ``options``, and yields the commands that give it the files of their
    releases. ``workloads`` are those of kube-system that get new pods. ``afterwards`` gets the leader, and yields the
    commands that remove what only the old pods needed.
    """

    folder: str
    workloads: tuple[str, ...]
    commands: Callable[..., Iterator[StringCommand]]
    afterwards: Callable[[Host], Iterator[StringCommand]] | None = None


@dataclass(frozen=True, kw_only=True)
class Upgrading:
    """What all steps of an upgrade need: limits are in seconds, ``leader`` is the host that kubectl runs on.

    ``heals`` are the nodes that need not be Ready, because an earlier run has left them so and this one has not made
    their steps yet.
    """

    topology: Topology
    plan: Plan
    leader: Host
    own: OwnOptions
    add_ons: tuple[AddOn, ...]
    drain_timeout: int
    settle_timeout: int
    heals: set[str]

    def options(self, machine: Host) -> ClusterOptions:
        """Return the options of a machine with the releases that the cluster gets."""
        return self.own(self.plan.target, machine.name)


def begun(state: State, host: Host, upgrading: Upgrading) -> bool:
    """Record that the upgrade has begun: until it has ended, cluster.py joins no machine."""
    _write_record(upgrading, _record(upgrading).with_upgrade(upgrading.plan.releases))
    return True


def ended(state: State, host: Host, upgrading: Upgrading) -> bool:
    """Record the cluster's new releases, and that the upgrade has ended."""
    releases = {name: release for name, release in upgrading.plan.releases.items() if name != "kubernetes"}
    _write_record(upgrading, _record(upgrading).with_releases(releases).with_upgrade(None))
    host.log("The cluster has the releases of the options")
    return True


def upgraded(state: State, host: Host, upgrading: Upgrading, steps: tuple[Step, ...]) -> bool:
    """Make one step, or those of several workers at the same time."""
    for step in steps:
        host.log(f"{step.node.name}: {step.words}")
    if steps[0].kind is Kind.STATIC_PODS:
        (step,) = steps
        if step.apply:
            _store_our_arguments(state, upgrading)
        _upgrade_static_pods(upgrading, step)
    else:
        _upgrade_nodes(host, upgrading, steps)
    return True


def add_on_upgraded(state: State, host: Host, upgrading: Upgrading, add_on: AddOn) -> bool:
    """Apply an add-on's files of the new releases, and wait until all its pods are replaced."""
    host.log(f"Upgrading {', '.join(add_on.workloads)}")
    leader, topology = upgrading.leader, upgrading.topology
    for node in topology.control_planes:
        machine = inventory.get_host(node.host)
        commands = add_on.commands(machine, options=upgrading.options(machine))
        _run_all(machine, commands, what=f"write the files of {add_on.folder}")
    _kubectl(leader, kubectl.apply_command(add_on.folder), what=f"apply {add_on.folder}")
    # The pods of a DaemonSet are replaced one node after the other.
    timeout = upgrading.settle_timeout + _SECONDS_A_NODE * len(topology.nodes)
    wait(
        leader,
        WorkloadsAvailable,
        what=f"waiting for {', '.join(add_on.workloads)}",
        seconds=timeout * len(add_on.workloads) + 60,
        workloads=add_on.workloads,
        timeout=timeout,
    )
    if add_on.afterwards:
        _run_all(leader, add_on.afterwards(leader), what=f"remove what only the old {add_on.folder} needed")
    _await_whole(upgrading)
    return True


def paused(state: State, host: Host, upgrading: Upgrading) -> bool:
    """Say which nodes were left out, and that the upgrade has not ended therefore."""
    host.log(f"The upgrade has not ended; {left_out(upgrading.plan)}")
    return True


def _store_our_arguments(state: State, upgrading: Upgrading) -> None:
    """Give the cluster's configuration the arguments that new clusters have: kubeadm writes them into the new manifests."""
    settings = ask_settings(state, upgrading.topology, refresh=True)
    if settings is None or settings.configuration is None:
        raise DeployError("no API server answers, so the cluster's configuration was not read; run again")
    configuration = with_ours(settings.configuration)
    if configuration == settings.configuration:
        return
    try:
        upload(state, upgrading.topology, "kubeadm", configuration)
    except Stopped as problem:
        raise DeployError(f"{problem}; run again") from None


def _upgrade_static_pods(upgrading: Upgrading, step: Step) -> None:
    machine = inventory.get_host(step.node.host)
    options = upgrading.options(machine)
    version = str(options.kubernetes_version)
    _await_kubeadm(machine)
    _await_whole(upgrading)
    _run_all(
        machine,
        kube_packages.upgrade_commands(machine, names=("kubeadm",), options=options),
        what="install kubeadm",
    )
    arguments = ("apply", f"v{version}", "--yes") if step.apply else ("node",)
    _kubeadm_upgrade(machine, *arguments, options=options)
    _await_whole(upgrading)
    if has_old_static_pods(ask(machine, UpgradeState), wanted=version):
        raise DeployError(
            f"{step.node.name}: kubeadm ended without an error, but its manifests in /etc/kubernetes/manifests do "
            f"not name {version}; look at them, and run again"
        )
    # Some releases lost the right of API servers to ask kubelets in an upgrade, and with it logs and exec.
    await_answer(
        machine,
        Reading.of(KubeletThroughApi, node=step.node.name),
        wanted="ok",
        seconds=upgrading.settle_timeout,
    )


def _upgrade_nodes(host: Host, upgrading: Upgrading, steps: tuple[Step, ...]) -> None:
    """Upgrade nodes at the same time: if one fails, the others of ``steps`` are still ended."""
    leader = upgrading.leader
    by_host = {step.node.host: step for step in steps}
    names = {step.node.name for step in steps}
    for name in by_host:
        _await_kubeadm(inventory.get_host(name))
    _await_whole(upgrading, but=names)
    statuses = {status.name: status for status in ask(leader, NodeStatuses)}
    if gone := sorted(names - statuses.keys()):
        raise DeployError(
            f"{some(gone)}: the cluster has no such node any more; take it out of the inventory"
        )
    workloads = ask(leader, WholeWorkloads)

    def failure_of(machine: Host) -> str:
        step = by_host[machine.name]
        try:
            _upgrade_node(
                host, upgrading, step, status=statuses[step.node.name], others=names - {step.node.name}
            )
        except PyinfraError as error:
            return str(error)
        return ""

    failures = in_parallel(failure_of, [inventory.get_host(name) for name in by_host]).values()
    if any(failures):
        raise DeployError("\n".join(filter(None, failures)))
    _await_whole(upgrading)
    draining.await_workloads(leader=leader, before=workloads, seconds=upgrading.settle_timeout)


def _upgrade_node(
    host: Host, upgrading: Upgrading, step: Step, *, status: NodeStatusState, others: Collection[str]
) -> None:
    """Upgrade one node; ``others`` are upgraded at the same time, and need not be Ready."""
    machine = inventory.get_host(step.node.host)
    options = upgrading.options(machine)
    leader, name = upgrading.leader, step.node.name
    claimed = status.claimed
    if step.drain:
        claimed = draining.drain(leader, status, by="upgrade", seconds=upgrading.drain_timeout, say=host.log)
    if not step.control_plane and "kubelet" in step.parts:
        _run_all(
            machine,
            kube_packages.upgrade_commands(machine, names=("kubeadm",), options=options),
            what="install kubeadm",
        )
        _kubeadm_upgrade(machine, "node", options=options)
    _run_all(
        machine,
        kube_packages.upgrade_commands(machine, names=kube_packages.KUBERNETES_PACKAGES, options=options),
        what="install the kubelet",
    )
    _run_all(
        machine,
        container_runtime.upgrade_commands(
            found=ask(machine, container_runtime.reading(options)), options=options
        ),
        what="upgrade the container runtime",
    )
    if "kubelet" in step.parts:
        release = partial(draining.release, leader, name) if claimed else None
        _restart_kubelet(machine, options=options, before=status.kubelet, release=release)
    await_upgraded(
        leader=leader,
        node=name,
        kubelet=str(options.kubernetes_version),
        container_runtime=str(options.containerd_version),
        seconds=upgrading.settle_timeout,
    )
    upgrading.heals.discard(name)
    if claimed:
        # A new kubelet may have restarted the static pods.
        _await_whole(upgrading, but=others)
        draining.release(leader, name)


def _restart_kubelet(
    machine: Host, *, options: ClusterOptions, before: str, release: Callable[[], None] | None
) -> None:
    """Restart a node's kubelet; if the new one does not run, put back that of the release ``before``.

    An older kubelet is supported with the new API servers, so the node's pods keep a kubelet that watches them, and the
    node takes pods again if it has a ``release``.
    """
    restart, wanted = kube_packages.restart_command(), str(options.kubernetes_version)
    done, output = direct.run(machine, restart)
    if done:
        return
    failure = _failure(machine, output, what=f"restart the kubelet as {wanted}")
    # Without this answer, the new kubelet may run.
    if before == wanted or not units.does_not_run(output.stderr):
        raise failure
    try:
        old = options.following({"kubernetes_version": before})
        _run_all(
            machine,
            kube_packages.upgrade_commands(machine, names=("kubelet",), options=old),
            what=f"install the kubelet of {before} again",
        )
        _run(machine, restart, what=f"restart the kubelet of {before}")
        if release:
            release()
    except PyinfraError as another:
        raise DeployError(f"{failure}\n{another}") from None
    raise DeployError(
        f"{failure}\n{machine.name}: the kubelet of {before} is back and runs{', and the node takes pods again' if release else ''}; "
        f"find out why that of {wanted} does not, and run again"
    )


def _kubeadm_upgrade(machine: Host, *arguments: str, options: ClusterOptions) -> None:
    ignored = options.ignore_preflight_errors
    _run(
        machine,
        kubeadm(
            "upgrade",
            *arguments,
            *((f"--ignore-preflight-errors={','.join(ignored)}",) if ignored else ()),
            stdin=NO_DOCUMENT,
        ),
        what=f"run 'kubeadm upgrade {arguments[0]}'",
    )


def _await_kubeadm(machine: Host) -> None:
    found = wait_for_kubeadm(machine)
    if isinstance(found, NotRead):
        raise found


def _await_whole(upgrading: Upgrading, *, but: Collection[str] = ()) -> None:
    await_whole(
        upgrading.topology,
        leader=upgrading.leader,
        seconds=upgrading.settle_timeout,
        but={*but, *upgrading.heals},
    )


def _record(upgrading: Upgrading) -> ClusterRecord:
    settings = ask(upgrading.leader, ClusterSettings)
    if settings is None or settings.silent:
        raise DeployError(
            "no API server answers, so the cluster's record was not read; run again when one does"
        )
    return settings.record


def _write_record(upgrading: Upgrading, record: ClusterRecord) -> None:
    command = StringCommand(WRITE, _stdin=record.manifest())
    _kubectl(upgrading.leader, command, what="write the cluster's record")


def _kubectl(machine: Host, command: str | StringCommand, *, what: str) -> None:
    """Run a command that may be repeated, again if it fails: an API server that has just started refuses some."""
    for _ in range(_TRIES - 1):
        if direct.run(machine, command)[0]:
            return
        sleep(_PAUSE)
    _run(machine, command, what=what)


def _run_all(machine: Host, commands: Iterable[StringCommand], *, what: str) -> None:
    for command in commands:
        _run(machine, command, what=what)


def _run(machine: Host, command: str | StringCommand, *, what: str) -> None:
    done, output = direct.run(machine, command)
    if not done:
        raise _failure(machine, output, what=what)


def _failure(machine: Host, output: CommandOutput, *, what: str) -> DeployError:
    said = [line for line in output.output.splitlines() if line.strip()][-_LINES:]
    return DeployError(f"{machine.name}: could not {what}:\n" + "\n".join(said))
