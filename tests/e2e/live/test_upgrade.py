"""A control plane and a worker, both with pods, are upgraded by a minor while a workload is requested.

`make chaos` also upgrades runc by a patch, and Calico to a stand-in: another manifest with the same programs.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from kubeadm_deploys.model import artifacts
from tests.e2e.conftest import OLDER, VERSION, Cluster
from tests.e2e.restoring import PASSPHRASE
from tests.e2e.test_guards import await_end_of_api
from tests.e2e.upgrading import NEW, NEW_RUNC, PLANES, SPREAD, UPGRADE, state, upgrade, upgrade_under_requests
from tests.lab.docker import docker

CALICO, STAND_IN = artifacts.CALICO_VERSION, "3.31.999"
MANIFESTS = "/etc/kubernetes/manifests"


def test_what_is_refused_changes_nothing(cluster: Cluster) -> None:
    before = state(cluster)
    for arguments, words in (
        (("--data=kubernetes_version=1.35.4", "--data=backup=false"), "there is no way down"),
        (NEW, "leave the backup out with --data backup=false"),
    ):
        run = cluster.pyinfra("-y", *arguments, deploy=UPGRADE)
        assert (run.exit_code, "Traceback" in run.output) == (1, False), run.output
        assert words in run.output
    run = cluster.pyinfra("-y", *NEW)
    assert run.exit_code == 1
    assert "upgrade with 'pyinfra INVENTORY deploys/upgrade.py'" in run.output
    run = cluster.pyinfra("-y", *NEW, "--data=skip_preflight_checks=kubernetes-version")
    assert run.exit_code == 1
    assert "'kubernetes-version', which cannot be skipped" in run.output
    run = cluster.pyinfra("--dry", *NEW, "--data=backup=false", deploy=UPGRADE)
    assert run.exit_code == 0, run.output
    assert f"Kubernetes {OLDER} to {VERSION}" in run.output
    assert state(cluster) == before


def test_edits_that_kubeadm_would_undo_are_refused(cluster: Cluster) -> None:
    manifest = f"{MANIFESTS}/kube-scheduler.yaml"
    cluster.shell(cluster.control_plane, f"sed -i 's/^    - --leader-elect=true/&\\n    - --v=1/' {manifest}")
    try:
        run = cluster.pyinfra("--dry", *NEW, "--data=backup=false", deploy=UPGRADE)
        assert run.exit_code == 1
        assert (
            "kubeadm would undo what was changed in its manifests (kube-scheduler.yaml has - --v=1)"
            in run.output
        )
    finally:
        cluster.shell(cluster.control_plane, f"sed -i '/^    - --v=1/d' {manifest}")


def test_a_manifest_that_only_kubeadms_backup_has_is_restored(cluster: Cluster) -> None:
    host, backup = cluster.control_plane, "/etc/kubernetes/tmp/kubeadm-backup-manifests-2026-11-28-00-00-00"
    before = cluster.shell(host, f"sha256sum {MANIFESTS}/kube-apiserver.yaml")
    cluster.shell(host, f"mkdir -p {backup} && mv {MANIFESTS}/kube-apiserver.yaml {backup}/")
    await_end_of_api(cluster)
    planned = cluster.pyinfra("--dry", *NEW, "--data=backup=false", deploy=UPGRADE)
    assert planned.exit_code == 0, planned.output
    assert f"{host}: kubeadm was interrupted between two renames" in planned.output
    assert "kubeadm reset" not in planned.output
    assert "Cluster | Restore missing manifests" in cluster.converge().changed
    assert cluster.shell(host, f"sha256sum {MANIFESTS}/kube-apiserver.yaml") == before


def test_no_request_fails_while_everything_is_upgraded(
    cluster: Cluster, record_property: Callable[[str, object], None]
) -> None:
    record_property("measured", f"1 + 1 {upgrade_under_requests(cluster, writes_from=cluster.control_plane)}")


def test_the_next_runs_change_nothing(cluster: Cluster) -> None:
    again = upgrade(cluster)
    assert (again.exit_code, again.changed) == (0, []), again.output
    assert cluster.converge(*NEW, SPREAD).changed == []


@pytest.mark.chaos
def test_chosen_nodes_get_a_patch_after_a_backup_and_calico_follows_the_last(cluster: Cluster) -> None:
    worker = cluster.worker
    cluster.kubectl("cordon", worker)
    patch = (f"--data=runc_version={NEW_RUNC}", "--data=drain=always", *make_stand_in(cluster))
    refused = upgrade(cluster, *patch, f"--limit=@docker/{worker}")
    assert refused.exit_code == 1
    assert "all control planes are upgraded before any worker" in refused.output
    earlier = set(cluster.folder.glob("*.backup"))
    planes = upgrade(cluster, *patch, PLANES, passphrase=PASSPHRASE)
    assert planes.exit_code == 0, planes.output
    assert f"left out: {worker}" in planes.output
    assert PASSPHRASE not in planes.output
    (backup,) = set(cluster.folder.glob("*.backup")) - earlier
    assert backup.stat().st_mode & 0o777 == 0o600 and backup.stat().st_size > 100_000
    assert calico(cluster) == CALICO
    last = upgrade(cluster, *patch, f"--limit=@docker/{worker}")
    assert last.exit_code == 0, last.output
    assert calico(cluster) == STAND_IN
    for host in cluster.hosts:
        assert NEW_RUNC in cluster.shell(host.name, "runc --version")
    # The operator has cordoned it.
    assert cluster.kubectl("get", "node", worker, "--output=jsonpath={.spec.unschedulable}") == "true"
    again = upgrade(cluster, *patch)
    assert (again.exit_code, again.changed) == (0, []), again.output
    assert cluster.converge(*NEW, SPREAD, f"--data=runc_version={NEW_RUNC}").changed == []
    cluster.kubectl("uncordon", worker)
    # Spreads the pods of cluster DNS again.
    cluster.converge(*NEW, SPREAD, f"--data=runc_version={NEW_RUNC}")
    verified = cluster.verify("-k", "test_dns or test_services or test_pod_network")
    assert verified.exit_code == 0, verified.output


def calico(cluster: Cluster) -> str:
    """Return the release of the pods of Calico's DaemonSet."""
    image = cluster.kubectl(
        *("get", "daemonset", "calico-node", "--namespace=kube-system"),
        "--output=jsonpath={.spec.template.spec.containers[0].image}",
    )
    return image.rpartition(":v")[2]


def make_stand_in(cluster: Cluster) -> tuple[str, str]:
    """Give the machines what they would fetch of another release of Calico, and return its options."""
    names = " ".join(f"quay.io/calico/{name}" for name in ("cni", "node", "kube-controllers"))
    for machine in cluster.hosts:
        cluster.shell(
            machine.name,
            f"for image in {names}; do "
            f"crictl --runtime-endpoint unix:///run/containerd/containerd.sock pull $image:v{CALICO} && "
            f"ctr --namespace k8s.io images tag $image:v{CALICO} $image:v{STAND_IN} || exit 1; done",
        )
    manifest = Path("/etc/kubernetes/calico", artifacts.calico_manifest("VXLAN"))
    planes = cluster.control_planes
    has_it = next(host for host in planes if cluster.shell(host, f"ls {manifest} 2> /dev/null; true"))
    content = docker("exec", has_it, "cat", str(manifest)).replace(f":v{CALICO}\n", f":v{STAND_IN}\n")
    for host in planes:
        write = f"mkdir -p {manifest.parent} && cat > {manifest}"
        docker("exec", "--interactive", host, "sh", "-c", write, input=content)
    checksum = hashlib.sha256(content.encode()).hexdigest()
    file = artifacts.release_file(
        component="calico", version=STAND_IN, variant=artifacts.calico_manifest("VXLAN")
    )
    # Those of the mirror's files too, which the option replaces.
    data = cluster.hosts[0].data
    known = Path(str(data["checksums"])).read_text() if "checksums" in data else ""
    checksums = cluster.folder / "checksums.txt"
    checksums.write_text(f"{known}{checksum}  {file.url}\n")
    return f"--data=calico_version={STAND_IN}", f"--data=checksums={checksums}"
