"""The steps of an upgrade. Each begins with what is on the machine, so that the next run can repeat it.

Any failure raises a ``DeployError``: the run stops there, and leaves the other nodes as they are.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from gevent import sleep
from pyinfra import inventory
from pyinfra.api import Host, State
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.cluster import draining
from kubeadm_deploys.cluster.draining import await_workloads
from kubeadm_deploys.cluster.kubeadm import NO_DOCUMENT, kubeadm
from kubeadm_deploys.cluster.leader import wait_for_kubeadm
from kubeadm_deploys.cluster.recording import WRITE
from kubeadm_deploys.documents.cluster_record import ClusterRecord
from kubeadm_deploys.facts.cluster_settings import ClusterSettings
from kubeadm_deploys.facts.node_status import NodeStatuses, NodeStatusState
from kubeadm_deploys.facts.upgrade_state import KubeletThroughApi, UpgradeState, WholeWorkloads
from kubeadm_deploys.lifecycle.upgrade_gates import (
    await_answer,
    await_upgraded,
    await_whole,
)
from kubeadm_deploys.lifecycle.upgrade_plan import Kind, OwnOptions, Plan, Step, has_old_static_pods
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.remote import direct
from kubeadm_deploys.remote.answers import Reading
from kubeadm_deploys.remote.reading import NotRead, ask
from kubeadm_deploys.sections import container_runtime, kube_packages

_LINES = 15
"""Lines of a failed command's output that an error repeats."""

_TRIES, _PAUSE = 5, 4
"""How often a short command is tried, and the seconds between."""


@dataclass(frozen=True, kw_only=True)
class Upgrading:
    """What all steps of an upgrade need: limits are in seconds, ``leader`` is the host that kubectl runs on."""

    topology: Topology
    plan: Plan
    leader: Host
    own: OwnOptions
    drain_timeout: int
    settle_timeout: int

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


def upgraded(state: State, host: Host, upgrading: Upgrading, step: Step) -> bool:
    """Make one step."""
    host.log(f"{step.node.name}: {step.words}")
    if step.kind is Kind.STATIC_PODS:
        _upgrade_static_pods(upgrading, step)
    else:
        _upgrade_node(host, upgrading, step)
    return True


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


def _upgrade_node(host: Host, upgrading: Upgrading, step: Step) -> None:
    machine = inventory.get_host(step.node.host)
    options = upgrading.options(machine)
    leader, name = upgrading.leader, step.node.name
    _await_kubeadm(machine)
    _await_whole(upgrading, but=name)
    status = next((node for node in ask(leader, NodeStatuses) if node.name == name), None)
    if status is None:
        raise DeployError(f"{name}: the cluster has no such node any more; take it out of the inventory")
    workloads = ask(leader, WholeWorkloads)
    claimed = status.claimed
    if step.drain:
        claimed = _drain(host, upgrading, status)
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
        _run(machine, kube_packages.restart_command(), what="restart the kubelet")
    await_upgraded(
        leader=leader,
        node=name,
        kubelet=str(options.kubernetes_version),
        container_runtime=str(options.containerd_version),
        seconds=upgrading.settle_timeout,
    )
    if claimed:
        # A new kubelet may have restarted the static pods.
        _await_whole(upgrading)
        _release(upgrading, name)
    _await_whole(upgrading)
    await_workloads(leader=leader, before=workloads, seconds=upgrading.settle_timeout)


def _drain(host: Host, upgrading: Upgrading, status: NodeStatusState) -> bool:
    """Drain a node, and return whether this package has cordoned it. One that somebody else cordoned stays so."""
    return draining.drain(
        upgrading.leader, status, by="upgrade", seconds=upgrading.drain_timeout, say=host.log
    )


def _release(upgrading: Upgrading, node: str) -> None:
    draining.release(upgrading.leader, node)


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


def _await_whole(upgrading: Upgrading, *, but: str = "") -> None:
    await_whole(upgrading.topology, leader=upgrading.leader, seconds=upgrading.settle_timeout, but=but)


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
        said = [line for line in output.output.splitlines() if line.strip()][-_LINES:]
        raise DeployError(f"{machine.name}: could not {what}:\n" + "\n".join(said))
