"""Write objects, back up and restore a real cluster, and read which etcd cluster it is."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kubeadm_deploys.facts.kubeadm_node import KubeadmNode
from tests.e2e import documented
from tests.e2e.conftest import PYINFRA, ROOT, Cluster, Run, run_command
from tests.e2e.recovery import in_background

PASSPHRASE = "correct horse battery staple"


def back_up(cluster: Cluster) -> Path:
    """Run backup.py, and return the file."""
    command = cluster.command("-y", f"--data=folder={cluster.folder}", deploy=ROOT / "deploys/backup.py")
    run = run_command(*command, environment={"CLUSTER": cluster.name, "BACKUP_PASSPHRASE": PASSPHRASE})
    assert run.exit_code == 0, run.output
    (path,) = cluster.folder.glob("*.backup")
    return path


def back_up_between_writes(cluster: Cluster) -> Path:
    """Write objects 1 to 5, back up, and write objects 6 to 9; return the backup."""
    write(cluster, range(1, 6))
    path = back_up(cluster)
    write(cluster, range(6, 10))
    return path


def write(cluster: Cluster, numbers: range) -> None:
    for number in numbers:
        cluster.kubectl("create", "configmap", f"write-{number}")


def written(cluster: Cluster) -> set[int]:
    names = cluster.kubectl("get", "configmaps", "--namespace=default", "--output=name")
    return {int(number) for number in re.findall(r"configmap/write-(\d+)", names)}


def restore(cluster: Cluster, section: str, backup: Path, *, passphrase: str = PASSPHRASE) -> Run:
    """Restore as a section of docs/disaster.md says."""
    return documented.run(
        *(cluster, section, "restore.py"),
        environment={"BACKUP_PASSPHRASE": passphrase},
        backup=str(backup),
    )


@contextmanager
def started(cluster: Cluster, section: str, backup: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a restore in the background, as a section of docs/disaster.md says; kill it at the end."""
    command = documented.arguments(cluster, section, "restore.py", backup=str(backup))
    with in_background(cluster, PYINFRA, *command, BACKUP_PASSPHRASE=PASSPHRASE) as run:
        yield run


def etcd_cluster(cluster: Cluster, *, host: str = "") -> str:
    """Return the ID of the etcd cluster that a control plane serves, by default the first, as the package reads it."""
    command = str(KubeadmNode().command().get_raw_value())
    lines = cluster.shell(host or cluster.control_plane, command).splitlines()
    return KubeadmNode().process(lines).etcd_cluster
