"""What an upgrade refuses, and its plan, from what was read."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from kubeadm_deploys.documents.cluster_record import ClusterRecord, RecordedConfiguration
from kubeadm_deploys.documents.templates import sha256
from kubeadm_deploys.facts.cluster_members import ClusterMembersState, RegisteredNode
from kubeadm_deploys.facts.cluster_settings import ClusterSettingsState
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.facts.machine import MachineState
from kubeadm_deploys.facts.node_status import NodeStatusState
from kubeadm_deploys.facts.upgrade_state import UpgradeReading
from kubeadm_deploys.lifecycle.upgrade_checks import MachineReadings, Readings, found_releases, refusals
from kubeadm_deploys.lifecycle.upgrade_plan import Kind, Plan, Step, plan_of, target_options, text
from kubeadm_deploys.model import artifacts
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.sections import container_runtime, kube_packages
from kubeadm_deploys.sections.container_runtime import ContainerRuntimeState
from kubeadm_deploys.sections.kube_packages import KubePackagesState

OLD, NEW = "1.36.5", "1.37.2"
OPTIONS = ClusterOptions()


def node(name: str) -> Node:
    return Node(host=f"@fake/{name}", name=name, ip=f"10.0.0.{len(name)}{name[-1]}", address="")


CP, CP2, CP3, W1, W2 = (node(name) for name in ("cp-1", "cp-2", "cp-3", "worker-1", "worker-2"))
SMALL = Topology(control_planes=(CP,), workers=(W1, W2))
LARGE = Topology(control_planes=(CP, CP2, CP3), workers=(W1, W2))
CA = "-----BEGIN CERTIFICATE-----"


def machine(
    kubernetes: str = OLD, *, plane: bool, containerd: str = "2.2.3", **changes: Any
) -> MachineReadings:
    options = OPTIONS.following({"kubernetes_version": kubernetes, "containerd_version": containerd})
    files = {
        path: sha256(content) for path, content in container_runtime.configuration_files(options).items()
    }
    packages = {path: sha256(content) for path, content in kube_packages.apt_files(options).items()}
    return replace(
        MachineReadings(
            kubeadm=KubeadmNodeState(
                files=frozenset(
                    {"kubelet.conf"} | ({"etcd", "admin.conf", "pki/ca.key"} if plane else set())
                ),
                rotating=True,
                ca_certificate=CA,
                machine_id="",
            ),
            machine=MachineState(cgroup=2),
            packages=KubePackagesState(
                versions=dict.fromkeys(kube_packages.HELD_PACKAGES, f"{kubernetes}-1.1"),
                held=frozenset(kube_packages.HELD_PACKAGES),
                files=packages,
            ),
            runtime=ContainerRuntimeState(
                architecture="amd64",
                has_curl=True,
                versions={
                    **dict.fromkeys(("containerd", "containerd-shim-runc-v2", "ctr"), containerd),
                    "runc": artifacts.RUNC_VERSION,
                },
                plugins=dict.fromkeys(artifacts.CNI_PLUGINS, artifacts.CNI_PLUGINS_VERSION),
                files=files,
                active=True,
                enabled=True,
                up_to_date=True,
                systemd_cgroup="true",
            ),
            upgrade=UpgradeReading(
                images=dict.fromkeys(
                    ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"), kubernetes
                )
                if plane
                else {},
                free=5000,
                etcd=100,
                compared=True,
            ),
        ),
        **changes,
    )


def readings(
    topology: Topology, *, machines: Mapping[Node, MachineReadings] = {}, config: str = OLD, **changes: Any
) -> Readings:
    made = {
        each.host: machines.get(each) or machine(plane=each in topology.control_planes)
        for each in topology.nodes
    }
    found = Readings(
        machines=made,
        nodes={
            each.name: NodeStatusState(
                name=each.name,
                control_plane=each in topology.control_planes,
                dedicated=each in topology.control_planes,
                ready=True,
                cordoned=False,
                kubelet=made[each.host].packages.versions["kubelet"].partition("-")[0],
                container_runtime=f"containerd {made[each.host].runtime.versions['containerd']}",
            )
            for each in topology.nodes
        },
        members=ClusterMembersState(
            etcd=tuple(
                EtcdMember(id=each.name, name=each.name, peer_ip=each.ip) for each in topology.control_planes
            ),
            nodes={each.name: RegisteredNode(machine_id="") for each in topology.nodes},
        ),
        settings=ClusterSettingsState(
            cluster_name="kubernetes",
            control_plane_endpoint="",
            pod_subnet="",
            service_subnet="",
            dns_domain="",
            kubernetes_version=config,
            cni="calico",
            cni_version=artifacts.CALICO_VERSION,
        ),
        cluster_ca=CA,
    )
    return replace(found, **changes)


def refused(topology: Topology, found: Readings, **options: Any) -> list[str]:
    chosen = ClusterOptions(**options)
    target = target_options(chosen, found_releases(topology, found))
    return refusals(topology, target=target, found=found)


def planned(topology: Topology, found: Readings, *, drain_always: bool = False) -> Plan:
    target = target_options(OPTIONS, found_releases(topology, found))
    return plan_of(
        topology,
        leader=CP.host,
        target=target,
        found=found,
        own=lambda options, host: options,
        drain_always=drain_always,
    )


def words(plan: Plan) -> list[str]:
    return [f"{step.node.name}: {step.words}" for step in plan.steps]


def test_a_whole_cluster_may_be_upgraded() -> None:
    assert refused(SMALL, readings(SMALL)) == []
    assert refused(LARGE, readings(LARGE)) == []


def test_control_planes_come_before_kubelets_and_workers_are_drained() -> None:
    plan = planned(LARGE, readings(LARGE))
    assert words(plan) == [
        "cp-1: kubeadm upgrade apply",
        "cp-2: kubeadm upgrade node",
        "cp-3: kubeadm upgrade node",
        *(f"{name}: kubelet, containerd" for name in ("cp-1", "cp-2", "cp-3")),
        *(f"{name}: drain, kubelet, containerd" for name in ("worker-1", "worker-2")),
    ]
    assert (plan.begins, plan.ends) == (True, True)
    assert text(plan, cluster="demo", backup=True)[0] == (
        f"Upgrade of cluster demo: Kubernetes {OLD} to {NEW}; containerd 2.2.3 to {artifacts.CONTAINERD_VERSION}"
    )


def new(plane: bool) -> MachineReadings:
    return machine(NEW, plane=plane, containerd=artifacts.CONTAINERD_VERSION)


def test_an_upgraded_cluster_has_nothing_left_but_its_record() -> None:
    machines = {each: new(each in LARGE.control_planes) for each in LARGE.nodes}
    found = readings(LARGE, machines=machines, config=NEW)
    plan = planned(LARGE, found)
    assert (plan.steps, plan.begins, plan.ends) == ((), False, True)
    releases = {name: release for name, release in plan.releases.items() if name != "kubernetes"}
    record = ClusterRecord().with_releases(releases)
    recorded = replace(found, settings=replace(found.settings, record=record))
    assert not planned(LARGE, recorded).changes
    begun = replace(found, settings=replace(found.settings, record=record.with_upgrade(plan.releases)))
    assert planned(LARGE, begun).changes


@pytest.mark.parametrize("config", [OLD, NEW])
def test_an_apply_that_was_interrupted_is_repeated(config: str) -> None:
    half = machine(plane=True, upgrade=replace(machine(plane=True).upgrade, images=new(True).upgrade.images))
    found = readings(LARGE, machines={CP: half}, config=config)
    assert words(planned(LARGE, found))[:3] == [
        "cp-1: kubeadm upgrade apply",
        "cp-2: kubeadm upgrade node",
        "cp-3: kubeadm upgrade node",
    ]


def test_finished_nodes_are_left_alone_and_claimed_ones_come_first() -> None:
    machines = {each: new(True) for each in LARGE.control_planes}
    found = readings(LARGE, machines=machines, config=NEW)
    claimed = replace(found.nodes["worker-2"], claimed=True, cordoned=True)
    found = replace(found, nodes={**found.nodes, "worker-2": claimed})
    assert words(planned(LARGE, found)) == [
        "worker-2: drain, kubelet, containerd, uncordon",
        "worker-1: drain, kubelet, containerd",
    ]


def test_a_node_that_was_only_left_cordoned_is_uncordoned() -> None:
    machines = {each: new(each in SMALL.control_planes) for each in SMALL.nodes}
    found = readings(SMALL, machines=machines, config=NEW)
    claimed = replace(found.nodes["worker-1"], claimed=True, cordoned=True)
    found = replace(found, nodes={**found.nodes, "worker-1": claimed})
    for drain_always in (False, True):
        plan = planned(SMALL, found, drain_always=drain_always)
        assert plan.steps == (Step(kind=Kind.NODE, node=W1, control_plane=False, parts=("uncordon",)),)


def test_nothing_is_drained_without_another_place_for_its_pods() -> None:
    topology = Topology(control_planes=(CP,), workers=(W1,))
    plan = planned(topology, readings(topology))
    assert not any(step.drain for step in plan.steps)
    assert any("worker-1 is not drained" in warning for warning in plan.warnings)


def test_a_newer_release_than_the_default_is_kept_if_nobody_set_another() -> None:
    machines = {each: machine("1.37.9", plane=each in SMALL.control_planes) for each in SMALL.nodes}
    found = readings(SMALL, machines=machines, config="1.37.9")
    assert refused(SMALL, found) == []
    assert str(planned(SMALL, found).target.kubernetes_version) == "1.37.9"


@pytest.mark.parametrize(
    ("machines", "config", "options", "sentence"),
    [
        ({}, OLD, {"kubernetes_version": "1.35.4"}, "there is no way down"),
        (
            {each: machine("1.35.4", plane=each == CP) for each in SMALL.nodes},
            "1.35.4",
            {},
            "one minor at a time; set kubernetes_version to a release of 1.36 first",
        ),
        (
            {W1: machine(NEW, plane=False)},
            OLD,
            {},
            f"its kubelet has {NEW}, which is newer than the API server's {OLD}",
        ),
        ({W1: machine("1.33.9", plane=False)}, OLD, {}, "more than three minors older"),
        (
            {W1: machine(plane=False, containerd="2.1.5")},
            OLD,
            {},
            "containerd is upgraded one minor at a time",
        ),
        (
            {W1: machine(plane=False, containerd="2.3.9")},
            OLD,
            {"containerd_version": "2.3.4"},
            "there is no way down; set containerd_version to 2.3.9",
        ),
        (
            {CP: machine(plane=True, upgrade=replace(machine(plane=True).upgrade, free=1000))},
            OLD,
            {},
            "/etc/kubernetes has 1000 MiB free",
        ),
        (
            {
                CP: machine(
                    plane=True, upgrade=replace(machine(plane=True).upgrade, edits=("x.yaml has - --v=3",))
                )
            },
            OLD,
            {},
            "kubeadm would undo what was changed in its manifests (x.yaml has - --v=3)",
        ),
        (
            {
                CP: machine(
                    plane=True,
                    upgrade=replace(
                        machine(plane=True).upgrade,
                        images={**machine(plane=True).upgrade.images, "etcd": "3.5.21-0"},
                    ),
                )
            },
            OLD,
            {},
            "etcd 3.5.21 must not be upgraded to 3.6",
        ),
        ({W1: machine(plane=False, machine=MachineState(cgroup=1))}, OLD, {}, "has cgroup v1"),
        (
            {
                W1: machine(
                    plane=False, machine=MachineState(kubelet_arguments="--pod-infra-container-image=x")
                )
            },
            OLD,
            {},
            "does not start with --pod-infra-container-image",
        ),
    ],
)
def test_what_would_not_work_is_refused_with_a_fix(
    machines: Mapping[Node, MachineReadings], config: str, options: dict[str, str], sentence: str
) -> None:
    reasons = refused(SMALL, readings(SMALL, machines=machines, config=config), **options)
    assert any(sentence in reason for reason in reasons), reasons


def test_cgroup_v1_is_no_reason_on_a_node_whose_own_kubelet_fields_allow_it() -> None:
    own = replace(W1, kubelet_configuration={"failCgroupV1": False})
    topology = replace(SMALL, workers=tuple(own if node == W1 else node for node in SMALL.workers))
    old = {node: machine(plane=False, machine=MachineState(cgroup=1)) for node in topology.workers}
    reasons = refused(topology, readings(topology, machines=old, config=OLD))
    found = [reason.partition(":")[0] for reason in reasons if "cgroup v1" in reason]
    assert found == [node.name for node in topology.workers if node != own]


def test_a_node_that_is_not_ready_is_refused_unless_its_upgrade_has_begun() -> None:
    found = readings(SMALL)
    down = replace(found.nodes["worker-1"], ready=False)
    found = replace(found, nodes={**found.nodes, "worker-1": down})
    assert any("worker-1: is not Ready" in reason for reason in refused(SMALL, found))
    begun = {**found.machines, W1.host: new(False)}
    assert refused(SMALL, replace(found, machines=begun)) == []


@pytest.mark.parametrize(
    ("containerd", "runs", "is_refused"),
    [
        ("2.3.4", False, False),
        # The containerd of the earlier run, and this one has another.
        ("2.3.3", True, False),
        # Its upgrade has not begun.
        ("2.3.2", True, True),
    ],
)
def test_a_node_whose_containerd_failed_in_an_unfinished_upgrade_is_upgraded_first(
    containerd: str, runs: bool, is_refused: bool
) -> None:
    machines = {each: new(each in SMALL.control_planes) for each in SMALL.nodes}
    failed = machine(NEW, plane=False, containerd=containerd)
    failed = replace(failed, runtime=replace(failed.runtime, active=runs))
    found = readings(SMALL, machines={**machines, W2: failed}, config=NEW)
    down = replace(found.nodes["worker-2"], ready=False)
    found = replace(found, nodes={**found.nodes, "worker-2": down})
    # Without an upgrade, there is another reason.
    (reason,) = refused(SMALL, found)
    assert "worker-2: is not Ready" in reason and "journalctl --unit containerd" in reason
    record = ClusterRecord().with_upgrade({"kubernetes": NEW, "containerd": "2.3.3"})
    found = replace(found, settings=replace(found.settings, record=record))
    assert bool(refused(SMALL, found)) == is_refused
    if not is_refused:
        plan = planned(SMALL, found)
        assert (plan.heals, [step.node for step in plan.steps]) == (frozenset({"worker-2"}), [W2])


@pytest.mark.parametrize(
    ("pending", "what"),
    [
        (RecordedConfiguration(pending=({"apiServer": {}},)), "the control planes"),
        (RecordedConfiguration(kubelet_pending=({"maxPods": 50},)), "the kubelets"),
        (RecordedConfiguration(kube_proxy_pending=({"mode": "ipvs"},)), "kube-proxy"),
    ],
)
def test_a_change_of_the_configuration_that_has_not_ended_is_refused_instead_of_its_edits(
    pending: RecordedConfiguration, what: str
) -> None:
    edited = machine(plane=True, upgrade=replace(machine(plane=True).upgrade, edits=("x.yaml has - --v=3",)))
    found = readings(SMALL, machines={CP: edited})
    record = ClusterRecord().with_configuration(pending)
    changing = replace(found, settings=replace(found.settings, record=record))
    (reason,) = refused(SMALL, changing)
    assert f"configuration of {what} has begun and not ended" in reason and "cluster.py" in reason
    # Then cluster.py does nothing.
    upgrading = record.with_upgrade({"kubernetes": NEW})
    (reason,) = refused(SMALL, replace(found, settings=replace(found.settings, record=upgrading)))
    assert "kubeadm would undo" in reason


def test_what_the_upgrade_itself_adds_is_no_edit() -> None:
    # The first control plane has it, and so has the cluster's configuration; a later one gets it with its upgrade.
    lacks = "kube-apiserver.yaml lacks - --shutdown-watch-termination-grace-period=5s"
    edited = machine(plane=True, upgrade=replace(machine(plane=True).upgrade, edits=(lacks,)))
    found = readings(SMALL, machines={CP: edited})
    (reason,) = refused(SMALL, found)
    assert "grace" in reason
    record = ClusterRecord().with_upgrade({"kubernetes": NEW})
    assert refused(SMALL, replace(found, settings=replace(found.settings, record=record))) == []
    other = replace(edited, upgrade=replace(edited.upgrade, edits=(lacks, "kube-apiserver.yaml has - --v=1")))
    found = readings(SMALL, machines={CP: other})
    (reason,) = refused(SMALL, replace(found, settings=replace(found.settings, record=record)))
    assert "--v=1" in reason and "grace" not in reason


def test_nodes_that_are_not_in_the_inventory_are_refused() -> None:
    found = readings(LARGE)
    reasons = refused(SMALL, found)
    assert len([reason for reason in reasons if "is not in the inventory" in reason]) == 2, reasons
