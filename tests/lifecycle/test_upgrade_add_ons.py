"""What runs as pods in a cluster, as part of an upgrade; and which nodes an upgrade leaves out."""

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.clouds.hetzner import controller
from kubeadm_deploys.clouds.hetzner.controller import CloudFiles, CloudSecretState
from kubeadm_deploys.clouds.hetzner.place import HetznerCloud
from kubeadm_deploys.cni.calico import network
from kubeadm_deploys.cni.calico.network import CniFilesState
from kubeadm_deploys.documents.cluster_record import ClusterRecord
from kubeadm_deploys.documents.templates import sha256
from kubeadm_deploys.lifecycle import upgrade, upgrade_steps
from kubeadm_deploys.lifecycle.upgrade_checks import Readings, found_releases, refusals
from kubeadm_deploys.lifecycle.upgrade_choices import batches, crowded, limited
from kubeadm_deploys.lifecycle.upgrade_plan import (
    Kind,
    Plan,
    Step,
    plan_of,
    target_options,
    text,
)
from kubeadm_deploys.model import artifacts
from kubeadm_deploys.model.options import ClusterOptions
from tests.lifecycle.test_upgrade_plan import CP, LARGE, NEW, SMALL, W1, W2, new, planned, readings, words

CALICO_FILES = "/etc/kubernetes/calico"


def upgraded(*, record: dict[str, str] | None = None, **settings: Any) -> Readings:
    """Return the readings of a cluster whose nodes are all upgraded."""
    machines = {each: new(each in SMALL.control_planes) for each in SMALL.nodes}
    found = readings(SMALL, machines=machines, config=NEW)
    recorded = ClusterRecord() if record is None else ClusterRecord().with_releases(record)
    return replace(found, settings=replace(found.settings, record=recorded, **settings))


def plan(found: Readings, **options: Any) -> Plan:
    target = target_options(ClusterOptions(**options), found_releases(SMALL, found))
    return plan_of(SMALL, leader=CP.host, target=target, found=found, own=lambda options, host: options)


def test_calico_is_upgraded_although_no_node_is() -> None:
    made = plan(upgraded(cni_version="3.30.0"))
    assert (made.steps, made.add_ons, made.begins, made.ends) == ((), ("calico",), True, True)
    assert made.releases["calico"] == artifacts.CALICO_VERSION
    lines = text(made, cluster="demo", backup=True)
    assert "Calico 3.30.0 to 3.31.0" in lines[0]
    assert any("backup" in line for line in lines) and any(
        "Calico, for the whole cluster" in line for line in lines
    )


def test_an_upgrade_of_calico_goes_on_until_it_is_recorded() -> None:
    # Killed while its pods were replaced: the DaemonSet has the new release already.
    assert plan(upgraded(record={"calico": "3.30.0"})).add_ons == ("calico",)
    assert plan(upgraded(record={"calico": "3.31.0"})).add_ons == ()


def test_a_newer_calico_is_kept_and_an_older_one_that_was_asked_for_is_refused() -> None:
    found = upgraded(cni_version="3.31.7")
    assert (plan(found).add_ons, plan(found).releases["calico"]) == ((), "3.31.7")
    target = target_options(ClusterOptions(calico_version="3.31.0"), found_releases(SMALL, found))
    (reason,) = refusals(SMALL, target=target, found=found)
    assert "calico_version is 3.31.0, but the cluster has Calico 3.31.7, and there is no way down" in reason


def test_a_pod_network_of_the_users_is_left_alone() -> None:
    made = plan(upgraded(cni_version="3.30.0"), cni="none")
    assert made.add_ons == () and "calico" not in made.releases


HCLOUD = {"hcloud-cloud-controller": "1.35.0", "hcloud-csi": "2.20.0"}


def test_what_hetzner_needs_is_upgraded_if_it_is_installed() -> None:
    made = plan(upgraded(cloud_versions=HCLOUD), cloud_provider="hetzner")
    assert made.add_ons == ("hcloud-csi",)
    assert made.releases["hcloud-csi"] == artifacts.HCLOUD_CSI_VERSION
    assert "Hetzner's CSI driver 2.20.0 to 2.22.1" in text(made, cluster="demo", backup=False)[0]
    # It is too old for the manifest, so cluster.py refuses it.
    old = plan(upgraded(cloud_versions={"hcloud-cloud-controller": "1.34.0"}), cloud_provider="hetzner")
    assert old.add_ons == ("hcloud-cloud-controller",)
    absent = plan(upgraded(), cloud_provider="hetzner")
    assert absent.add_ons == () and "hcloud-csi" not in absent.releases
    assert plan(upgraded(cloud_versions=HCLOUD)).add_ons == ()


def commands(made: Iterator[Any]) -> list[str]:
    return [command.get_raw_value() for command in made]


def test_a_control_plane_gets_the_files_of_the_new_calico_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = CniFilesState()
    monkeypatch.setattr(network, "ask", lambda machine, reading: found)
    monkeypatch.setattr(network, "_known_mtu", lambda *_, **__: 1450)
    options = ClusterOptions(calico_version="3.31.7")
    machine: Any = SimpleNamespace(name=CP.host)
    fetch, write = commands(network.upgrade_commands(machine, options=options, topology=SMALL))
    assert "calico/v3.31.7/manifests/calico-vxlan.yaml" in fetch and CALICO_FILES in fetch
    assert f"{CALICO_FILES}/kustomization.yaml" in write
    file = artifacts.release_file(component="calico", version="3.31.7", variant="calico-vxlan.yaml")
    found = CniFilesState(
        files={
            f"{CALICO_FILES}/calico-vxlan.yaml": file.sha256,
            f"{CALICO_FILES}/kustomization.yaml": sha256(network.kustomization(options=options, mtu=1450)),
        }
    )
    assert commands(network.upgrade_commands(machine, options=options, topology=SMALL)) == []


def test_hetzners_kustomization_keeps_the_secrets_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    place = HetznerCloud(network="demo", location="fsn1")
    options = ClusterOptions(cloud_provider="hetzner", hcloud_csi_version="2.21.0")
    secret = CloudSecretState(token_sha256="5e", network="demo")
    text = controller.kustomization(options=options, cloud=place, token_sha256="5e")
    files = {path: file.sha256 for path, file in controller._MANIFESTS.items()}
    path = f"{controller.FOLDER}/kustomization.yaml"

    def answers(machine: object, asked: Any) -> object:
        return files if getattr(asked, "fact", asked) is CloudFiles else secret

    monkeypatch.setattr(controller, "ask", answers)
    machine: Any = SimpleNamespace(name=CP.host)
    (write,) = commands(controller.upgrade_commands(machine, options=options, place=place))
    assert path in write
    files[path] = sha256(text)
    assert commands(controller.upgrade_commands(machine, options=options, place=place)) == []
    secret = CloudSecretState(token_sha256="")
    with pytest.raises(DeployError, match="the Secret hcloud in kube-system"):
        commands(controller.upgrade_commands(machine, options=options, place=place))


@pytest.mark.parametrize("is_administrator", [True, False])
def test_an_upgrade_takes_the_old_rights_from_hetzners_controller_once_its_pods_are_new(
    monkeypatch: pytest.MonkeyPatch, is_administrator: bool
) -> None:
    made = plan(upgraded(cloud_versions={"hcloud-cloud-controller": "1.34.0"}), cloud_provider="hetzner")
    (add_on,) = upgrade._add_ons(made, topology=SMALL, place=HetznerCloud(network="demo", location="fsn1"))
    monkeypatch.setattr(controller, "ask", lambda machine, reading: is_administrator)
    done: list[str] = []
    machine: Any = SimpleNamespace(name=CP.host)

    def run(machine: object, command: Any, **_: object) -> None:
        done.append(command if isinstance(command, str) else command.get_raw_value())

    monkeypatch.setattr(upgrade_steps, "_run", run)
    monkeypatch.setattr(upgrade_steps, "_kubectl", run)
    monkeypatch.setattr(upgrade_steps, "wait", lambda *_, **__: done.append("pods are new"))
    monkeypatch.setattr(upgrade_steps, "_await_whole", lambda upgrading: None)
    upgrading: Any = SimpleNamespace(
        leader=machine, topology=replace(SMALL, control_planes=(), workers=(W1,)), settle_timeout=1
    )
    host: Any = SimpleNamespace(log=lambda text: None)
    upgrade_steps.add_on_upgraded(host, host, upgrading, add_on)
    later = done[done.index("pods are new") + 1 :]
    assert [controller.OLD_BINDING in command for command in later] == [True] * is_administrator


# Some of the nodes.


def test_all_control_planes_come_before_a_chosen_worker() -> None:
    whole = planned(LARGE, readings(LARGE))
    with pytest.raises(DeployError, match="cp-1, cp-2, cp-3: not upgraded yet and left out"):
        limited(whole, [W1])
    with pytest.raises(DeployError, match="cp-2, cp-3: not upgraded yet and left out"):
        limited(whole, [CP, W1])


def test_a_plan_for_some_of_the_nodes_does_not_end_the_upgrade() -> None:
    whole = planned(LARGE, replace(readings(LARGE)))
    planes = limited(whole, LARGE.control_planes)
    assert {step.control_plane for step in planes.steps} == {True}
    assert (planes.begins, planes.ends, planes.left_out) == (True, False, ("worker-1", "worker-2"))
    assert any("left out: worker-1, worker-2" in line for line in text(planes, cluster="demo", backup=False))
    assert limited(whole, LARGE.nodes) == whole


def test_the_last_chosen_worker_ends_the_upgrade_with_calico() -> None:
    machines = {each: new(each in SMALL.control_planes) for each in (CP, W1)}
    found = readings(SMALL, machines=machines, config=NEW)
    found = replace(found, settings=replace(found.settings, cni_version="3.30.0"))
    whole = planned(SMALL, found)
    done = limited(whole, [W1])
    assert (done.steps, done.add_ons, done.changes, done.left_out) == ((), (), False, ("worker-2",))
    assert "left out: worker-2" in text(done, cluster="demo", backup=False)[0]
    last = limited(whole, [W2])
    assert (words(last), last.add_ons, last.ends) == (
        ["worker-2: drain, kubelet, containerd"],
        ("calico",),
        True,
    )


def step(name: str, *, kind: Kind = Kind.NODE, control_plane: bool = False) -> Step:
    return Step(kind=kind, node=replace(W1, name=name), control_plane=control_plane)


def test_only_workers_are_upgraded_at_the_same_time() -> None:
    steps = [
        step("cp-1", kind=Kind.STATIC_PODS, control_plane=True),
        *(step(name, control_plane=True) for name in ("cp-1", "cp-2")),
        *(step(name) for name in ("w-1", "w-2", "w-3")),
    ]
    made = [[each.node.name for each in batch] for batch in batches(steps, workers_at_once=2)]
    assert made == [["cp-1"], ["cp-1"], ["cp-2"], ["w-1", "w-2"], ["w-3"]]
    assert all(len(batch) == 1 for batch in batches(steps, workers_at_once=1))


@pytest.mark.parametrize(("at_once", "is_refused"), [(1, False), (2, True), (5, True)])
def test_one_node_stays_for_the_pods_of_the_drained_ones(at_once: int, is_refused: bool) -> None:
    reason = crowded(planned(SMALL, readings(SMALL)), workers_at_once=at_once)
    assert bool(reason) == is_refused
    assert not reason or ("2 nodes take ordinary pods" in reason and "at most 1" in reason)
