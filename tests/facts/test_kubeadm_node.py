"""kubeadm's traces on a machine: the real script in a folder, its result, and restored manifests."""

import dataclasses
import itertools
import os
import re
import subprocess
from pathlib import Path

import pytest

from kubeadm_deploys.documents.templates import sha256
from kubeadm_deploys.facts.kubeadm_node import MANIFESTS, KubeadmNode, KubeadmNodeState, NodeState, node_state
from kubeadm_deploys.sections.control_plane import restore_commands
from tests.support.machines import MEMBER, STATIC_PODS, WORKER
from tests.support.remote_scripts import with_programs

KUBELET_CONF = """\
clusters:
- cluster:
    server: https://api.shop.internal:6443
  name: shop
users:
- user:
    client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem
"""
ADMIN_CONF = "apiVersion: v1\nclusters:\n- cluster:\n    server: https://x:6443\n  name: shop\ncontexts: []\n"
WITH_CREDENTIALS = f"""\
{ADMIN_CONF}users:
- name: kubernetes-admin
  user:
    client-certificate-data: Q0VSVA==
    client-key-data: S0VZ
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the root of a fake machine without traces of kubeadm, with fake programs."""
    write(tmp_path, "etc/machine-id", "abc\n")
    write(tmp_path, "bin/systemctl", "#!/bin/sh\necho inactive\nexit 3\n").chmod(0o755)
    write(tmp_path, "bin/curl", "#!/bin/sh\nprintf ok\n").chmod(0o755)
    return tmp_path


def write(root: Path, path: str, text: str = "x\n") -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def within(root: Path, script: str) -> str:
    """Return the script with /etc and /var below ``root``."""
    return re.sub(r"(?<![\w/])/(etc|var)/", rf"{root}/\1/", script)


def run(root: Path, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", within(root, script)],
        capture_output=True,
        text=True,
    )


def found(root: Path) -> KubeadmNodeState:
    done = run(root, with_programs(KubeadmNode().command(), root / "bin"))
    assert (done.returncode, done.stderr) == (0, "")
    return KubeadmNode().process(done.stdout.splitlines())


def member(root: Path) -> None:
    """Turn the machine into a control plane."""
    for path in ("pki/ca.key", "pki/etcd/ca.crt", *(f"manifests/{name}.yaml" for name in MANIFESTS)):
        write(root, f"etc/kubernetes/{path}")
    write(root, "etc/kubernetes/pki/ca.crt", "ours")
    write(root, "etc/kubernetes/kubelet.conf", KUBELET_CONF)
    write(root, "etc/kubernetes/admin.conf", ADMIN_CONF)
    (root / "var/lib/etcd/member").mkdir(parents=True)


def test_a_machine_without_traces_is_absent(root: Path) -> None:
    assert found(root) == KubeadmNodeState(machine_id="abc")
    assert node_state(found(root), cluster_ca="ours") is NodeState.ABSENT


def test_a_control_plane_is_read(root: Path) -> None:
    member(root)
    state = found(root)
    assert state == dataclasses.replace(
        MEMBER,
        server="https://api.shop.internal:6443",
        cluster_name="shop",
        machine_id="abc",
    )
    assert (state.is_control_plane, state.has_joined, state.has_cluster) == (True, True, True)
    assert state.missing_manifests == ()


def test_the_admin_kubeconfigs_credentials_are_read_as_checksums(root: Path) -> None:
    member(root)
    write(root, "etc/kubernetes/admin.conf", WITH_CREDENTIALS)
    assert found(root).admin == {
        "client-certificate-data": sha256("Q0VSVA=="),
        "client-key-data": sha256("S0VZ"),
    }


def test_a_recreated_kubelet_conf_is_not_rotating(root: Path) -> None:
    member(root)
    embedded = KUBELET_CONF.replace(
        "client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem", "x"
    )
    write(root, "etc/kubernetes/kubelet.conf", embedded)
    assert not found(root).rotating
    assert found(root).has_cluster


@pytest.mark.parametrize(
    ("answer", "api"),
    [
        ("ok", "ok"),
        (
            "[+]ping ok\\n[-]etcd failed: reason withheld\\n[-]informer-sync failed\\nreadyz check failed\\n",
            None,
        ),
        ("curl: (7) Failed to connect", "not ready: curl: (7) Failed to connect"),
    ],
)
def test_the_api_servers_status_is_read(root: Path, answer: str, api: str | None) -> None:
    member(root)
    write(root, "bin/curl", f"#!/bin/sh\nprintf '{answer}'\n")
    assert found(root).api == (api or "not ready: etcd informer-sync")


def test_quotes_around_names_are_removed(root: Path) -> None:
    write(root, "etc/kubernetes/admin.conf", ADMIN_CONF.replace("shop", '"2024"'))
    assert found(root).cluster_name == "2024"


def test_the_image_of_etcd_is_read_also_from_a_manifest_that_is_set_aside(root: Path) -> None:
    def text(release: str) -> str:
        return f"spec:\n  containers:\n  - command:\n    - etcd\n    image: registry.k8s.io/etcd:{release}\n    imagePullPolicy: x\n"

    write(root, "etc/kubernetes/kubeadm-deploys-restore/manifests/etcd.yaml", text("3.7.0-0"))
    assert found(root).etcd_image == "registry.k8s.io/etcd:3.7.0-0"
    # That of a kubeadm init after which a restore was killed.
    write(root, "etc/kubernetes/manifests/etcd.yaml", text("3.6.8-0"))
    assert found(root).etcd_image == "registry.k8s.io/etcd:3.6.8-0"


@pytest.mark.parametrize("state", ["active", "activating", "deactivating"])
def test_a_running_kubeadm_is_seen(root: Path, state: str) -> None:
    member(root)
    write(root, "bin/systemctl", f"#!/bin/sh\necho {state}\n")
    assert found(root).kubeadm_runs


def test_saved_etcd_data_is_not_a_trace_of_a_cluster(root: Path) -> None:
    (root / "var/lib/etcd/kubeadm-deploys-saved/20261128T000000Z/member").mkdir(parents=True)
    (root / "var/lib/etcd/lost+found").mkdir()
    assert found(root) == KubeadmNodeState(machine_id="abc", saved_etcd=True)
    assert node_state(found(root)) is NodeState.ABSENT


def backup(root: Path, manifest: str, *, made: str = "2026-11-28-10-00-00", text: str = "backup\n") -> Path:
    return write(root, f"etc/kubernetes/tmp/kubeadm-backup-manifests-{made}/{manifest}.yaml", text)


@pytest.mark.parametrize("manifest", MANIFESTS)
@pytest.mark.parametrize("left", ["nothing", "an empty file"])
def test_a_missing_manifest_is_restored_from_kubeadms_backup(root: Path, manifest: str, left: str) -> None:
    """kubeadm upgrade was killed between its two renames."""
    member(root)
    path = root / f"etc/kubernetes/manifests/{manifest}.yaml"
    path.unlink()
    if left == "an empty file":
        path.touch()
    older = backup(root, manifest, made="2026-01-28-10-00-00", text="an older one\n")
    newest = backup(root, manifest)
    # Both folders may have been made in the same tick of the kernel's clock.
    os.utime(older.parent, (0, 0))
    state = found(root)
    assert state.missing_manifests == (manifest,)
    assert state.backups == {manifest: str(newest)}
    assert (state.is_control_plane, state.has_cluster) == (True, True)

    *before, command = restore_commands(state)
    # An API server without etcd makes the kubelet hang too, which then does not start etcd.
    assert all("end-api-server" in earlier.get_raw_value() for earlier in before)
    assert len(before) == (manifest == "etcd")
    done = run(root, command.get_raw_value())
    assert (done.returncode, done.stderr) == (0, "")
    assert path.read_text() == "backup\n"
    # The backup stays, and no file of another name is left for the kubelet.
    assert newest.exists()
    assert {file.name for file in path.parent.iterdir()} == {f"{name}.yaml" for name in MANIFESTS}
    assert restore_commands(found(root)) == []


def test_existing_manifests_are_not_replaced_by_backups(root: Path) -> None:
    member(root)
    for manifest in MANIFESTS:
        backup(root, manifest)
    assert found(root).backups == {}
    assert restore_commands(found(root)) == []


def test_no_manifest_is_put_back_while_kubeadm_runs_or_a_restore_does_or_without_a_cluster() -> None:
    lacks = dataclasses.replace(
        MEMBER,
        files=MEMBER.files - {"manifests/etcd.yaml"},
        backups={"etcd": "/etc/kubernetes/tmp/x/etcd.yaml"},
    )
    assert restore_commands(lacks)
    assert restore_commands(dataclasses.replace(lacks, kubeadm_runs=True)) == []
    assert restore_commands(dataclasses.replace(lacks, restoring="a record")) == []
    # A reset has left backups.
    left = KubeadmNodeState(backups=dict.fromkeys(MANIFESTS, "/etc/kubernetes/tmp/x"))
    assert not left.has_cluster
    assert restore_commands(left) == []


def test_a_certificate_that_waits_for_its_place_beside_its_key_is_found_and_put_in(root: Path) -> None:
    member(root)
    new = write(root, "etc/kubernetes/pki/kubeadm-deploys-new/apiserver.crt", "new\n")
    key = write(root, "etc/kubernetes/pki/kubeadm-deploys-new/apiserver.key", "new\n")
    # Both are there: the exchange has not begun, and the next one begins anew.
    assert not found(root).half_certificate
    key.rename(root / "etc/kubernetes/pki/apiserver.key")
    state = found(root)
    assert state.half_certificate
    write(root, "bin/systemctl", f'#!/bin/sh\necho "$@" >> {root}/called\n')
    write(root, "bin/sync", "#!/bin/sh\n").chmod(0o755)
    (command,) = restore_commands(dataclasses.replace(state, rotating=True))
    assert run(root, with_programs(command, root / "bin")).returncode == 0
    assert (root / "etc/kubernetes/pki/apiserver.crt").read_text() == "new\n" and not new.parent.exists()
    assert (root / "called").read_text() == "restart kubelet\n"
    assert restore_commands(dataclasses.replace(state, rotating=True, kubeadm_runs=True)) == []
    write(root, "bin/systemctl", "#!/bin/sh\necho inactive\nexit 3\n")
    assert not found(root).half_certificate


@pytest.mark.parametrize(
    "missing", [*map(frozenset, itertools.combinations(sorted(STATIC_PODS), 1)), STATIC_PODS]
)
def test_a_control_plane_is_recognised_without_one_of_its_files(missing: frozenset[str]) -> None:
    found = dataclasses.replace(MEMBER, files=MEMBER.files - missing, api="")
    assert (found.is_control_plane, found.has_cluster) == (True, True)
    without_etcds = dataclasses.replace(found, files=found.files - {"etcd"})
    assert without_etcds.is_control_plane


def test_one_copied_file_does_not_make_a_worker_a_control_plane() -> None:
    for copied in ("admin.conf", "super-admin.conf", "pki/ca.key", "pki/etcd/ca.crt"):
        found = dataclasses.replace(WORKER, files=WORKER.files | {copied})
        assert not found.is_control_plane and not found.has_cluster


def test_etcd_data_without_traces_of_kubeadm_is_foreign(root: Path) -> None:
    (root / "var/lib/etcd/member").mkdir(parents=True)
    assert found(root).has_etcd_of_others
    member_files = dataclasses.replace(MEMBER, files=frozenset({"etcd"}))
    assert not member_files.has_etcd_of_others


def test_backups_of_a_finished_upgrade_are_not_restored(root: Path) -> None:
    """kubeadm keeps them forever; an operator has moved a manifest away since, to stop its pod."""
    for manifest in MANIFESTS:
        backup(root, manifest)
    for manifest in set(MANIFESTS) - {"etcd"}:
        write(root, f"etc/kubernetes/manifests/{manifest}.yaml")
    assert found(root).backups == {}


def test_a_folder_that_an_earlier_swap_has_left_does_not_hide_kubeadms_backup(root: Path) -> None:
    swapped = backup(root, "kube-scheduler", made="kubeadm-deploys").parent
    os.utime(swapped, (1, 1))
    path = backup(root, "kube-apiserver")
    for manifest in set(MANIFESTS) - {"kube-apiserver"}:
        write(root, f"etc/kubernetes/manifests/{manifest}.yaml")
    assert found(root).backups == {"kube-apiserver": str(path)}


def test_only_the_last_backup_of_a_killed_upgrade_is_restored(root: Path) -> None:
    for manifest in ("etcd", "kube-apiserver"):
        path = backup(root, manifest)
    for manifest in set(MANIFESTS) - {"kube-apiserver"}:
        write(root, f"etc/kubernetes/manifests/{manifest}.yaml")
    assert found(root).backups == {"kube-apiserver": str(path)}


@pytest.mark.parametrize(("leader", "seen"), [(', "leader": "81"', "12"), (', "leader":"0"', ""), ("", "")])
def test_an_etcd_without_a_leader_serves_no_cluster(root: Path, leader: str, seen: str) -> None:
    for path in ("manifests/etcd.yaml", "pki/etcd/server.key"):
        write(root, f"etc/kubernetes/{path}")
    status = f'{{"header":{{"cluster_id":"12","member_id":"3"}}{leader}, "errors":["etcdserver: no leader"]}}'
    write(root, "bin/curl", f"#!/bin/sh\nprintf '%s' '{status}'\n").chmod(0o755)
    assert found(root).etcd_cluster == seen
