"""Backups of the cluster: they contain every write acknowledged before, and a damaged one is recognised."""

import io
import json
import re
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pyrage
import pytest

from kubeadm_deploys.operations import shared_pki
from tests.e2e.conftest import ROOT, Cluster, Run, run_command

DEPLOY = ROOT / "deploys/backup.py"
PASSPHRASE = "correct horse battery staple"
_END = b"-----END AGE ENCRYPTED FILE-----\n"

# Creates objects one after the other, and prints the number of each that the API has acknowledged.
_WRITER = """
n=0
until [ -e /run/stop-writing ]; do
  n=$((n + 1))
  kubectl --kubeconfig /etc/kubernetes/admin.conf create configmap backup-$n > /dev/null && echo $n
done
"""


def back_up(cluster: Cluster, folder: Path, *arguments: str, passphrase: str = PASSPHRASE) -> Run:
    command = cluster.command("-y", f"--data=folder={folder}", *arguments, deploy=DEPLOY)
    return run_command(*command, environment={"CLUSTER": cluster.name, "BACKUP_PASSPHRASE": passphrase})


def verify(path: Path, *, passphrase: str = PASSPHRASE) -> Run:
    arguments = ("-y", "@local", str(DEPLOY), f"--data=verify={path}")
    return run_command(*arguments, environment={"BACKUP_PASSPHRASE": passphrase})


def contents(path: Path) -> dict[str, bytes]:
    """Return the files in a backup, opened as its documentation says, not with this package."""
    armored, _, encrypted = path.read_bytes().partition(_END)
    key = pyrage.x25519.Identity.from_str(pyrage.passphrase.decrypt(armored + _END, PASSPHRASE).decode())
    with tarfile.open(fileobj=io.BytesIO(pyrage.decrypt(encrypted, [key]))) as archive:
        files: dict[str, Any] = {entry.name: archive.extractfile(entry) for entry in archive}
        return {name: file.read() for name, file in files.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backups")


@pytest.fixture(scope="module")
def backup(cluster: Cluster, folder: Path) -> Path:
    """Return a backup that was made while a client wrote; the client's objects are gone again."""
    client = ["docker", "exec", cluster.control_plane, "sh", "-c", _WRITER]
    with subprocess.Popen(client, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        before = [int(writer.stdout.readline()) for _ in range(5)]
        try:
            run = back_up(cluster, folder)
        finally:
            cluster.shell(cluster.control_plane, "touch /run/stop-writing")
            # Until it has ended.
            writer.stdout.read()
    assert before == [1, 2, 3, 4, 5]
    cluster.shell(cluster.control_plane, "rm /run/stop-writing")
    cluster.kubectl("create", "configmap", "backup-0")
    names = cluster.kubectl("get", "configmaps", "--namespace=default", "--output=name").split()
    cluster.kubectl("delete", *[name for name in names if name.startswith("configmap/backup-")])
    assert run.exit_code == 0, run.output
    assert "PRIVATE KEY" not in run.output and PASSPHRASE not in run.output
    (path,) = folder.iterdir()
    return path


def test_a_backup_has_every_write_that_was_acknowledged_before_and_none_after(backup: Path) -> None:
    found = set(re.findall(rb"/registry/configmaps/default/backup-(\d+)", contents(backup)["etcd.db"]))
    numbers = {int(number) for number in found}
    assert numbers >= {1, 2, 3, 4, 5}
    assert numbers == set(range(1, max(numbers) + 1))


def test_a_backup_is_private_and_has_keys_manifests_and_configuration(cluster: Cluster, backup: Path) -> None:
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    files = contents(backup)
    manifest = json.loads(files["manifest.json"])
    assert files.keys() == {"manifest.json", *manifest["parts"]}
    assert {f"pki/{name}" for name in shared_pki.FILES} <= files.keys()
    ca_key = cluster.shell(cluster.control_plane, "cat /etc/kubernetes/pki/ca.key")
    assert files["pki/ca.key"].decode().strip() == ca_key
    names = [item["metadata"]["name"] for item in json.loads(files["config-maps.json"])["items"]]
    assert names == ["kubeadm-config", "kubelet-config", "kube-proxy", "kubeadm-deploys"]
    assert list(manifest["nodes"]) == [host.name for host in cluster.hosts]
    assert manifest["members"] == [cluster.control_plane]


def test_a_backup_leaves_nothing_on_the_machine(cluster: Cluster, backup: Path) -> None:
    assert cluster.shell(cluster.control_plane, "ls -A /var/lib/etcd") == "member"
    assert cluster.converge().changed == []


def test_a_backup_is_verified_without_a_cluster(backup: Path) -> None:
    run = verify(backup)
    assert run.exit_code == 0, run.output
    assert f"{backup} is whole" in run.output


def test_a_wrong_passphrase_and_a_flipped_byte_are_recognised(backup: Path, tmp_path: Path) -> None:
    wrong = verify(backup, passphrase="wrong")
    assert wrong.exit_code == 1
    assert "BACKUP_PASSPHRASE is another one" in wrong.output and "Traceback" not in wrong.output
    content = bytearray(backup.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = tmp_path / "damaged.backup"
    damaged.write_bytes(content)
    run = verify(damaged)
    assert run.exit_code == 1
    assert "is damaged" in run.output and "Traceback" not in run.output


def test_an_unencrypted_backup_must_be_asked_for(cluster: Cluster, folder: Path, backup: Path) -> None:
    run = back_up(cluster, folder, passphrase="")
    assert run.exit_code == 1
    assert "BACKUP_PASSPHRASE is not set" in run.output
    assert list(folder.iterdir()) == [backup]


def test_keep_removes_older_backups(cluster: Cluster, folder: Path, backup: Path) -> None:
    run = back_up(cluster, folder, "--data=keep=1")
    assert run.exit_code == 0, run.output
    (newer,) = folder.iterdir()
    assert newer.name > backup.name
    assert verify(newer).exit_code == 0
