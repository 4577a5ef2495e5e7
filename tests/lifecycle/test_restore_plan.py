"""What is restored where, and why not: pure decisions."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.cluster.api_leader import ApiLeader
from kubeadm_deploys.documents.backup_file import SNAPSHOT, Backup, Manifest, Part
from kubeadm_deploys.facts.cluster_members import ClusterMembersState, RegisteredNode
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.facts.kubeadm_node import MANIFESTS, KubeadmNodeState
from kubeadm_deploys.facts.machine import Disk, MachineState
from kubeadm_deploys.lifecycle.restore_checks import (
    disk_problem,
    older_etcd,
    release_problems,
    restore_problems,
    unlisted_problem,
    unreadable_secrets,
)
from kubeadm_deploys.lifecycle.restore_plan import (
    Begun,
    RestoreRecord,
    after_restore,
    choose_seed,
    etcd_image_of,
    is_same_etcd,
    is_whole,
    lost_nodes,
    record_in,
    revision_bump,
    settings_of,
)
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations import shared_pki
from tests.support import cluster_settings
from tests.support.certificates import Authority
from tests.support.machines import MEMBER, WORKER


def node(name: str, ip: str) -> Node:
    return Node(host=name, name=name, ip=ip, address=ip)


TOPOLOGY = Topology(
    control_planes=(node("cp-1", "10.0.0.1"), node("cp-2", "10.0.0.2")), workers=(node("w-1", "10.0.1.1"),)
)
CA = Authority().certificate
WHOLE = replace(MEMBER, ca_certificate=CA, client_certificate="", api="")
BLANK = KubeadmNodeState(machine_id="blank")
MACHINE = MachineState(kubelet="1.37.2-1.1")
"""A machine with the packages of the backup's release."""


def backup(parts: Mapping[str, str] = MappingProxyType({})) -> Backup:
    listed = json.dumps(cluster_settings.objects())
    contents = {
        **{f"pki/{name}": f"{name} of the backup".encode() for name in shared_pki.FILES},
        "pki/ca.crt": CA.encode(),
        "config-maps.json": listed.encode(),
        **{f"manifests/{name}.yaml": b"command: [x]" for name in MANIFESTS},
        **{name: text.encode() for name, text in parts.items()},
    }
    manifest = Manifest(
        cluster_name="kubernetes",
        made="2026-11-29T20:00:00+00:00",
        by="0.2",
        ca="0123456789ab",
        releases={"kubernetes": "1.37.2"},
        members=("cp-1", "cp-2"),
        nodes={"cp-1": "id-1", "cp-2": "id-2", "w-1": "id-3"},
        revision=10,
        keys=10,
        hash=1,
        parts={SNAPSHOT: Part(size=1 << 30, sha256="0")},
    )
    return Backup(path=Path("a.backup"), sha256="ab" * 32, manifest=manifest, parts=contents)


BACKUP = backup()
OTHER = RestoreRecord(backup="cd" * 32, began="20261129T200000Z", seed="cp-1")


def problems(**changes: Any) -> list[str]:
    found = {"cp-1": WHOLE, "cp-2": WHOLE, "w-1": replace(WORKER, ca_certificate=CA, client_certificate="")}
    arguments: dict[str, Any] = {
        "options": ClusterOptions(),
        "topology": TOPOLOGY,
        "active": list(found),
        "found": found | changes.pop("found", {}),
        "machines": dict.fromkeys(found, MACHINE) | changes.pop("machines", {}),
        "api_leader": ApiLeader(leader="cp-1", exists=True, problem="no API server answers"),
        "record": None,
        "kubeconfig_ca": None,
        "force": False,
        "restart": False,
        **changes,
    }
    return list(restore_problems(arguments.pop("backup", BACKUP), **arguments))


def test_a_cluster_that_is_down_is_restored() -> None:
    assert problems() == []


WORKS = ApiLeader(leader="cp-1", exists=True, healthy=(TOPOLOGY.control_planes[0],))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"options": ClusterOptions(cluster_name="other")}, "is of the cluster 'kubernetes'"),
        ({"active": ["cp-1", "w-1"]}, "cp-2: cannot be reached"),
        ({"kubeconfig_ca": Authority().certificate}, "has another CA certificate"),
        (
            {"found": {"w-1": replace(WORKER, ca_certificate=Authority().certificate)}},
            "w-1: is a node of another cluster",
        ),
        ({"found": {"cp-2": KubeadmNodeState(files=frozenset({"etcd"}))}}, "cp-2: has etcd data"),
        ({"found": {"w-1": WHOLE}}, "w-1: is a control plane, but in the group workers"),
        (
            {"found": {"cp-2": replace(WORKER, ca_certificate=CA, client_certificate="")}},
            "cp-2: is a worker",
        ),
        (
            {"machines": {"cp-2": MachineState(kubelet="1.36.5-1.1")}},
            "cp-2: has Kubernetes 1.36.5, but the backup was made with 1.37.2",
        ),
        (
            {"machines": {"cp-2": replace(MACHINE, api_server="1.38.0")}},
            "cp-2: has an API server of Kubernetes 1.38.0, but the backup was made with 1.37.2",
        ),
        ({"api_leader": WORKS}, "the cluster works (cp-1)"),
        ({"record": OTHER}, "a restore from another backup began"),
        ({"backup": replace(BACKUP, parts={})}, "lacks pki/ca.crt"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], words: str) -> None:
    found = problems(**changes)
    assert any(words in problem for problem in found), found


@pytest.mark.parametrize(
    "changes",
    [
        {"api_leader": WORKS, "force": True},
        {"api_leader": WORKS, "record": replace(OTHER, backup=BACKUP.sha256)},
        {"record": OTHER, "restart": True},
        {"found": {"cp-2": BLANK}, "machines": {"cp-2": MachineState(kubelet="1.36.5-1.1")}},
        {"machines": {"cp-2": replace(MACHINE, api_server="1.37.2")}},
    ],
)
def test_what_is_not_refused(changes: dict[str, Any]) -> None:
    assert problems(**changes) == []


def test_who_is_to_clean_a_machine_is_told_that_its_data_is_deleted() -> None:
    for machine in (MachineState(kubelet="1.36.5-1.1"), replace(MACHINE, api_server="1.38.0")):
        (problem,) = problems(machines={"cp-2": machine})
        assert "deletes its data; before, copy /var/lib/etcd elsewhere" in problem


def test_all_reasons_are_given_at_once() -> None:
    machines = {"cp-1": MachineState(kubelet="1.36.5-1.1"), "cp-2": MachineState(kubelet="1.36.5-1.1")}
    assert len(problems(machines=machines, api_leader=WORKS)) == 3


@pytest.mark.parametrize("kubelet", ["1.38.0-1.1", "1.36.5-1.1", "1.37.1-1.1"])
def test_releases_of_nodes_are_not_replaced_under_their_pods(kubelet: str) -> None:
    def problems(**changes: Any) -> list[str]:
        found = {"cp-1": WHOLE, "cp-2": BLANK, "w-1": WORKER} | changes.get("found", {})
        machines = dict.fromkeys(found, MACHINE) | changes.get("machines", {})
        same = {"containerd": "2.3.4", "runc": "1.4.3", "cni-plugins": "1.9.1"}
        releases = dict.fromkeys(found, same) | changes.get("releases", {})
        options = ClusterOptions(
            kubernetes_version="1.37.2",
            containerd_version="2.3.4",
            runc_version="1.4.3",
            cni_plugins_version="1.9.1",
        )
        return list(
            release_problems(TOPOLOGY, found=found, machines=machines, releases=releases, options=options)
        )

    assert problems() == []
    (containerd,) = problems(releases={"cp-1": {"containerd": "2.2.3"}, "cp-2": {"runc": "1.3.0"}})
    assert containerd.startswith("cp-1: has containerd 2.2.3 (the restore would install 2.3.4), ")
    other = {"w-1": MachineState(kubelet=kubelet)}
    (worker,) = problems(machines=other)
    assert worker.startswith(f"w-1: has kubelet {kubelet[:6]} (the restore would install 1.37.2), ")
    assert problems(machines=other, found={"w-1": BLANK}) == []


ETCD = "registry.k8s.io/etcd:3.6.8-0"
"""The image in the backup."""


def seed(record: RestoreRecord | None = None, **found: KubeadmNodeState) -> str:
    listed = {name.replace("_", "-"): state for name, state in found.items()}
    return choose_seed(TOPOLOGY, found=listed, record=record, etcd_image=ETCD).name


def test_the_seed_is_the_recorded_one_else_the_first_that_is_whole() -> None:
    whole = replace(WHOLE, etcd_image=ETCD)
    assert seed(cp_1=BLANK, cp_2=whole) == "cp-2"
    assert seed(OTHER, cp_1=BLANK, cp_2=whole) == "cp-1"
    assert seed(replace(OTHER, seed="cp-9"), cp_1=BLANK, cp_2=whole) == "cp-2"
    assert seed(cp_1=BLANK, cp_2=BLANK) == "cp-1"
    assert seed(cp_1=replace(WHOLE, etcd_image="registry.k8s.io/etcd:3.7.0-0"), cp_2=whole) == "cp-2"


@pytest.mark.parametrize(
    ("image", "same"),
    [
        (ETCD, True),
        ("mirror.internal:5000/k8s/etcd:v3.6.4", True),
        ("registry.k8s.io/etcd:3.7.0-0", False),
        ("registry.k8s.io/etcd:3.5.24-0", False),
        ("mirror.internal:5000/etcd", False),
        ("", False),
    ],
)
def test_etcds_of_one_minor_release_take_the_same_data(image: str, same: bool) -> None:
    assert is_same_etcd(image, ETCD) is same
    assert is_same_etcd(image, image)


@pytest.mark.parametrize(
    ("release", "image", "tag", "refused"),
    [
        ("1.36.5", "registry.k8s.io/etcd:3.7.0-0", "", True),
        ("1.33.5", "mirror.internal:5000/etcd:v3.6.4", "", True),
        ("1.36.5", ETCD, "", False),
        ("1.37.2", ETCD, "", False),
        ("1.36.5", "registry.k8s.io/etcd:3.7.0-0", "3.7.0-0", False),
        ("1.36.5", "mirror.internal:5000/etcd", "", False),
    ],
)
def test_a_backup_whose_etcd_is_newer_than_kubeadms_needs_a_machine_with_it(
    release: str, image: str, tag: str, refused: bool
) -> None:
    configuration = {"clusterName": "kubernetes", **({"etcd": {"local": {"imageTag": tag}}} if tag else {})}
    maps = json.dumps(cluster_settings.objects(cluster=configuration))
    made = backup({"config-maps.json": maps})
    made = replace(made, manifest=replace(made.manifest, releases={"kubernetes": release}))
    problem = older_etcd(made, etcd_image=image)
    assert bool(problem) is refused
    assert not refused or (image in problem and "use the backup that was made before the upgrade" in problem)


def test_the_image_of_etcd_is_read_from_the_manifest_in_the_backup() -> None:
    manifest = f"spec:\n  containers:\n  - image: {ETCD}\n    imagePullPolicy: IfNotPresent\n"
    assert etcd_image_of(backup({"manifests/etcd.yaml": manifest})) == ETCD
    with pytest.raises(ValueError, match="manifest of etcd"):
        etcd_image_of(backup({"manifests/etcd.yaml": "spec: {}"}))


def test_the_seeds_own_record_counts() -> None:
    newer = replace(OTHER, began="20261130T000000Z", seed="cp-2")
    found = {"cp-1": replace(BLANK, restoring=OTHER.line), "cp-2": replace(BLANK, restoring=newer.line)}
    assert record_in(TOPOLOGY, found) == OTHER
    assert record_in(TOPOLOGY, {"cp-1": BLANK, "cp-2": replace(BLANK, restoring=OTHER.line)}) == OTHER
    assert record_in(TOPOLOGY, {"cp-1": BLANK, "cp-2": BLANK}) is None
    assert RestoreRecord.of_line("cut") is None


def test_a_restore_that_ended_without_a_machine_is_not_gone_on_with() -> None:
    one, two = TOPOLOGY.control_planes
    for seed in ("cp-1", "cp-2"):
        left = replace(OTHER, seed=seed)
        found = {"cp-1": WHOLE, "cp-2": replace(WHOLE, restoring=left.line)}
        assert record_in(TOPOLOGY, found, healthy=[one]) is None
        assert record_in(TOPOLOGY, found, healthy=[two]) == left
        assert record_in(TOPOLOGY, found, healthy=[]) == left


def test_only_what_was_planned_is_gone_on_with() -> None:
    one, two = TOPOLOGY.control_planes
    planned = Begun(seed=one, record=OTHER)
    later = replace(OTHER, began="20261130T000000Z")
    # The time of a restore that has not begun is that of the reading.
    replace(planned, record=later).refuse_another(planned)
    replace(planned, found=OTHER).refuse_another(replace(planned, found=OTHER))
    for found in (
        replace(planned, seed=two),
        replace(planned, record=replace(OTHER, backup="ef" * 32)),
        # Another run has begun to restore the same backup, and was killed.
        replace(planned, record=later, found=later),
    ):
        with pytest.raises(DeployError, match="changed since this run was prepared"):
            found.refuse_another(planned)
    with pytest.raises(DeployError, match="changed since this run was prepared"):
        # Another run has ended it.
        planned.refuse_another(replace(planned, found=OTHER))


def test_each_restore_makes_another_etcd_cluster() -> None:
    assert OTHER.token != replace(OTHER, began="20261129T200001Z").token


def test_revisions_never_go_back_from_one_restore_to_the_next() -> None:
    first = 500_000 + revision_bump(500_000, now=1_795_000_000)
    # Written for an hour, and then restored from the same backup.
    written = first + 3600 * 900
    assert 500_000 + revision_bump(500_000, now=1_795_003_600) > written
    assert revision_bump(10**13, now=1_795_003_600) == 10**9


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_control_plane_is_whole_with_all_manifests_in_place_or_set_aside(name: str) -> None:
    whole = replace(WHOLE, etcd_image=ETCD)
    without = replace(whole, files=whole.files - {f"manifests/{name}.yaml"})
    assert is_whole(whole, etcd_image=ETCD) and not is_whole(without, etcd_image=ETCD)
    assert is_whole(replace(without, set_aside=frozenset({name})), etcd_image=ETCD)
    assert not is_whole(replace(whole, files=whole.files - {"kubelet.conf"}), etcd_image=ETCD)


def test_the_disk_needs_room_for_the_snapshot_and_the_new_data() -> None:
    first = TOPOLOGY.control_planes[0]

    def problem(free: int, **changes: Any) -> str:
        machine = MachineState(disks={"/var/lib/etcd": Disk(mount="/", free=free, size=1 << 40)})
        return disk_problem(first, machine=machine, found=replace(WHOLE, **changes), backup=BACKUP)

    assert problem(1 << 31).startswith("cp-1: the disk of /var/lib/etcd has 2048 MiB free")
    assert problem((1 << 31) + (1 << 28)) == ""
    assert problem(0, unpacked=True) == ""


def test_control_planes_outside_the_inventory_that_serve_are_named() -> None:
    etcd = (
        EtcdMember(id="1", name="cp-1", peer_ip="10.0.0.1"),
        EtcdMember(id="2", name="old", peer_ip="10.0.0.9"),
    )
    assert unlisted_problem(etcd, topology=TOPOLOGY, healthy={"10.0.0.1", "10.0.0.9"}).startswith("old: ")
    assert unlisted_problem(etcd, topology=TOPOLOGY, healthy={"10.0.0.1"}) == ""


def test_node_objects_of_lost_and_replaced_control_planes_are_deleted() -> None:
    nodes = {
        "cp-0": RegisteredNode(machine_id="id-0", control_plane=True),
        "cp-1": RegisteredNode(machine_id="id-1", control_plane=True),
        # Its label was removed, but the backup knows it as a member.
        "cp-2": RegisteredNode(machine_id="id-2"),
        "w-1": RegisteredNode(machine_id="id-3"),
        "w-2": RegisteredNode(machine_id="id-4"),
    }

    def lost(**ids: str) -> list[str]:
        return lost_nodes(
            ClusterMembersState(nodes=nodes),
            topology=TOPOLOGY,
            machine_ids={name.replace("_", "-"): text for name, text in ids.items()},
            known=BACKUP.manifest.members,
            seed=TOPOLOGY.control_planes[0],
        )

    assert lost(cp_1="id-1", cp_2="id-2") == ["cp-0"]
    assert lost(cp_1="new", cp_2="new") == ["cp-0", "cp-2"]


def test_a_backup_whose_secrets_a_new_api_server_could_not_read_is_recognised() -> None:
    encrypted = {"manifests/kube-apiserver.yaml": "- --encryption-provider-config=/etc/kubernetes/enc.yaml"}
    assert "--encryption-provider-config" in unreadable_secrets(backup(encrypted))
    assert unreadable_secrets(BACKUP) == ""
    configured = {**encrypted, "config-maps.json": '[{"name": "encryption-provider-config"}]'}
    assert unreadable_secrets(backup(configured)) == ""


DURING = backup(
    {"config-maps.json": json.dumps(cluster_settings.objects(record={"upgrade": '{"kubernetes": "1.37.2"}'}))}
)
"""A backup that was made during an upgrade."""


def test_after_a_backup_from_an_upgrade_the_upgrade_is_ended_first() -> None:
    assert after_restore(BACKUP) == ""
    assert "deploys/upgrade.py, and then" in after_restore(DURING)
    (works,) = problems(api_leader=WORKS)
    assert works.endswith("deploys/cluster.py joins the nodes that are missing")
    (works,) = problems(api_leader=WORKS, backup=DURING)
    assert works.endswith(after_restore(DURING))


def test_the_settings_of_a_backup_are_those_of_the_cluster() -> None:
    assert settings_of(BACKUP).kubernetes_version == "1.37.2"
    assert settings_of(DURING).record.upgrade is None
    with pytest.raises(ValueError, match="no configuration of kubeadm"):
        settings_of(backup({"config-maps.json": '{"items": []}'}))
