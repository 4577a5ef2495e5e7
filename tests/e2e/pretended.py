"""What the pretend machines of the histories answer, held against a docker host in the same state.

Both answers go through the product's own parsers; what is compared is what decisions are made by, without names,
addresses and sums, which cannot be the same.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from kubeadm_deploys import kube_packages
from kubeadm_deploys.facts.answers import Reading
from kubeadm_deploys.facts.api_endpoint import ApiEndpoint, ApiEndpointState
from kubeadm_deploys.facts.cluster_health import InitRemainder
from kubeadm_deploys.facts.cluster_members import ClusterMembers, ClusterMembersState
from kubeadm_deploys.facts.etcd import EtcdHealth, EtcdMember, EtcdMembers
from kubeadm_deploys.facts.framing import framed_lines
from kubeadm_deploys.facts.kube_packages import KubePackages, KubePackagesState
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode, KubeadmNodeState, node_state
from kubeadm_deploys.facts.machine import Machine, MachineState
from kubeadm_deploys.facts.reading import Questions
from tests.e2e.conftest import Cluster
from tests.simulation import machine as pretend
from tests.simulation.beginning import begin
from tests.simulation.commands import sent
from tests.simulation.history import Host
from tests.simulation.readings import Readings
from tests.simulation.world import Failed, World

_PORTS = (2379, 2380, 6443, 10250, 10257, 10259)

LEARNER_ADDED, LEARNER_STARTED = 7, 9
"""After how many of its steps a control plane's join has a member of etcd without a vote, and one whose etcd runs."""

FAILED = "fails"
"""What stands in the place of an answer when the command fails, or nobody can understand what it prints."""


@dataclass(frozen=True, kw_only=True)
class _Question:
    """A reading, and what decisions look at of its answer."""

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
            # As when etcdctl has nobody to ask, whose failure is left to the parser.
            return FAILED


def _kubeadm(found: KubeadmNodeState) -> dict[str, Any]:
    return {
        "state": node_state(found).value,
        "files": sorted(found.files),
        "backups": sorted(found.backups),
        "rotating": found.rotating,
        "ca": bool(found.ca_certificate),
        "client": bool(found.client_certificate),
        "server": bool(found.server),
        "named": bool(found.cluster_name),
        "admin": "certificate-authority-data" in found.admin,
        # What a server that does not answer says of it is curl's affair.
        "api": found.api if found.api in ("", "ok") else "not ready",
        "identified": bool(found.machine_id),
        "local proxy": found.local_proxy,
        "kubeadm runs": found.kubeadm_runs,
        "saved etcd": found.saved_etcd,
    }


def _machine(found: MachineState) -> dict[str, Any]:
    return {
        "etcd": sorted(found.etcd_entries),
        "docker": found.docker,
        "kubelet": bool(found.kubelet),
        "api server": bool(found.api_server),
        "listeners": sorted({port for port, _ in found.listeners if port in _PORTS}),
        "systemd": found.systemd,
    }


def _packages(found: KubePackagesState) -> dict[str, Any]:
    # Any of the others may be there before us.
    ours = set(kube_packages.HELD_PACKAGES)
    return {
        "packages": sorted(ours & found.versions.keys()),
        "held": sorted(found.held & ours),
        "kubelet": sorted(found.kubelet),
    }


def _endpoint(found: ApiEndpointState) -> dict[str, Any]:
    return {"joined": found.joined, "serves": found.serves_api, "hosts files": sorted(found.hosts_files)}


def _members(found: tuple[EtcdMember, ...]) -> list[tuple[bool, bool]]:
    return sorted((bool(member.name), member.learner) for member in found)


def _cluster(found: ClusterMembersState) -> dict[str, Any]:
    return {
        "etcd": _members(found.etcd),
        "nodes": sorted((node.control_plane, node.ready) for node in found.nodes.values()),
        "tokens": len(found.tokens),
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
    """A docker host answers as the machine ``name`` does in a world that begins with ``hosts`` and is then changed.

    It is asked about itself, and about its cluster too if that is wanted, or ``only`` these facts.
    """
    world = begin(hosts)
    change(world, world.machines[name])
    world.settle()
    questions = [
        each
        for each in _questions()
        if (each.name in only if only else of_cluster or not each.reading.of_cluster)
    ]
    real = {each.name: _real(cluster, container, each) for each in questions}
    assert {each.name: _pretended(world, name, each) for each in questions} == real
