"""Compare the answers of simulated machines (tests/simulation) with those of a docker host in the same state.

Both answers go through the product's own parsers. Only what decisions depend on is compared: names, addresses
and checksums always differ.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from kubeadm_deploys.facts.cluster_health import InitRemainder
from kubeadm_deploys.facts.cluster_members import ClusterMembers, ClusterMembersState
from kubeadm_deploys.facts.endpoint_name import ApiEndpoint, ApiEndpointState
from kubeadm_deploys.facts.etcd import EtcdHealth, EtcdMember, EtcdMembers
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode, KubeadmNodeState, node_state
from kubeadm_deploys.facts.machine import Machine, MachineState
from kubeadm_deploys.remote.answers import Reading
from kubeadm_deploys.remote.framing import framed_lines
from kubeadm_deploys.remote.reading import Questions
from kubeadm_deploys.sections import kube_packages
from kubeadm_deploys.sections.kube_packages import KubePackages, KubePackagesState
from tests.e2e.conftest import Cluster
from tests.simulation import machine as pretend
from tests.simulation.beginning import begin
from tests.simulation.commands import sent
from tests.simulation.history import Host
from tests.simulation.readings import Readings
from tests.simulation.world import Failed, World

_PORTS = (2379, 2380, 6443, 10250, 10257, 10259)

LEARNER_ADDED, LEARNER_STARTED = 7, 9
"""Steps of a control plane's join after which etcd has a new learner, and after which that learner runs."""

FAILED = "fails"
"""Stands for an answer when the command fails or its output cannot be parsed."""


@dataclass(frozen=True, kw_only=True)
class _Question:
    """A reading, and a function that keeps the parts of its answer that decisions use."""

    reading: Reading[Any]
    look: Callable[[Any], Any]

    @property
    def name(self) -> str:
        return self.reading.fact.__name__

    @property
    def command(self) -> str:
        return str(Questions([self.reading]).command().get_raw_value())

    def seen(self, lines: list[str]) -> Any:
        try:
            return self.look(self.reading.fact().process(lines))
        except ValueError:
            # For example when etcdctl has no endpoint: only the parser notices.
            return FAILED


def _kubeadm(state: KubeadmNodeState) -> dict[str, Any]:
    return {
        "state": node_state(state).value,
        "files": sorted(state.files),
        "backups": sorted(state.backups),
        "rotating": state.rotating,
        "ca": bool(state.ca_certificate),
        "client": bool(state.client_certificate),
        "server": bool(state.server),
        "named": bool(state.cluster_name),
        "admin": "certificate-authority-data" in state.admin,
        # The reason why a server does not answer is curl's wording.
        "api": state.api if state.api in ("", "ok") else "not ready",
        "identified": bool(state.machine_id),
        "units": sorted(state.units),
        "kubeadm runs": state.kubeadm_runs,
        "saved etcd": state.saved_etcd,
    }


def _machine(state: MachineState) -> dict[str, Any]:
    return {
        "etcd": sorted(state.etcd_entries),
        "docker": state.docker,
        "kubelet": bool(state.kubelet),
        "api server": bool(state.api_server),
        "listeners": sorted({port for port, _ in state.listeners if port in _PORTS}),
        "systemd": state.systemd,
    }


def _packages(state: KubePackagesState) -> dict[str, Any]:
    # Other packages may have been installed before.
    held_packages = set(kube_packages.HELD_PACKAGES)
    return {
        "packages": sorted(held_packages & state.versions.keys()),
        "held": sorted(state.held & held_packages),
        "kubelet": sorted(state.kubelet),
    }


def _endpoint(state: ApiEndpointState) -> dict[str, Any]:
    return {"joined": state.joined, "serves": state.serves_api, "hosts files": sorted(state.hosts_files)}


def _members(members: tuple[EtcdMember, ...]) -> list[tuple[bool, bool]]:
    return sorted((bool(member.name), member.learner) for member in members)


def _cluster(state: ClusterMembersState) -> dict[str, Any]:
    return {
        "etcd": _members(state.etcd),
        "nodes": sorted((node.control_plane, node.ready) for node in state.nodes.values()),
        "tokens": len(state.tokens),
    }


def _questions() -> list[_Question]:
    packages = (*kube_packages.HELD_PACKAGES, *kube_packages.TOOLS)
    read_packages = Reading.of(KubePackages, packages=packages, keyring="/nonexistent", paths=())
    return [
        _Question(reading=Reading(KubeadmNode), look=_kubeadm),
        _Question(reading=Reading(Machine), look=_machine),
        _Question(reading=read_packages, look=_packages),
        _Question(reading=Reading(ApiEndpoint), look=_endpoint),
        _Question(reading=Reading(EtcdMembers), look=_members),
        _Question(reading=Reading(EtcdHealth), look=len),
        _Question(reading=Reading(ClusterMembers), look=_cluster),
        _Question(reading=Reading(InitRemainder), look=sorted),
    ]


def _pretended(world: World, name: str, question: _Question) -> Any:
    (part,) = sent(name, question.command).parts
    try:
        return question.seen(Readings(world).answer(world.machines[name], part)[0])
    except Failed:
        return FAILED


def _real(cluster: Cluster, container: str, question: _Question) -> Any:
    *output, status = cluster.shell(container, f"({question.command}\n)\necho $?").splitlines()
    lines = framed_lines(question.name, output)
    assert lines is not None, output
    return question.seen(lines) if status == "0" else FAILED


def assert_answers_as(
    cluster: Cluster,
    container: str,
    *hosts: Host,
    name: str,
    only: Collection[str] = (),
    of_cluster: bool = False,
    change: Callable[[World, pretend.Machine], object] = lambda world, machine: None,
) -> None:
    """Assert that a docker host answers like the simulated machine ``name``.

    The machine's world begins with ``hosts`` and is then changed by ``change``. The facts compared are those
    of the machine, with ``of_cluster`` also those of its cluster, or ``only`` these.
    """
    world = begin(hosts)
    change(world, world.machines[name])
    world.settle()
    questions = [
        question
        for question in _questions()
        if (question.name in only if only else of_cluster or not question.reading.of_cluster)
    ]
    real = {question.name: _real(cluster, container, question) for question in questions}
    assert {question.name: _pretended(world, name, question) for question in questions} == real
