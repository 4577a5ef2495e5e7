"""Ordinary events that must not destroy a cluster: it and its data still exist after each of them.

The tests run in the order of the cluster's life and share it.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import PYINFRA, ROOT, Cluster, Run, docker_hosts, run_command
from tests.e2e.etcd import await_voters
from tests.e2e.pretended import assert_answers_as
from tests.e2e.recovery import await_on, output, start
from tests.e2e.room import places
from tests.lab import containers, hosts
from tests.lab.docker import docker
from tests.simulation.history import Host

RESET = ROOT / "deploys/reset.py"
REMOVE = ROOT / "deploys/remove_node.py"

_SECONDS = 120


@pytest.fixture(scope="module")
def cluster(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Make a cluster of one control plane; later tests add nodes."""
    folder = tmp_path_factory.mktemp("guards")
    # Two control planes and a worker in the end. The other cluster's control plane does next to nothing.
    takes = places(control_planes=2, workers=1)
    with docker_hosts("guards", folder=folder, workers=0, takes=takes, debian=(13,)) as made:
        made.converge()
        made.kubectl("create", "configmap", "guarded", "--from-literal=written=once")
        yield made


@pytest.fixture(scope="module")
def other(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Make another cluster of one machine, in the first one's room."""
    folder = tmp_path_factory.mktemp("guards-other")
    with docker_hosts("guards-other", folder=folder, workers=0, takes=0, debian=(12,)) as made:
        made.converge()
        made.kubectl("create", "configmap", "guarded", "--from-literal=written=once")
        yield made


def identity(cluster: Cluster) -> dict[str, str]:
    """Return what would differ in a cluster that was made again, or in a node that was wiped and rejoined."""
    namespace = cluster.kubectl("get", "namespace", "kube-system", "--output=jsonpath={.metadata.uid}")
    written = cluster.kubectl("get", "configmap", "guarded", "--output=jsonpath={.data.written}")
    nodes = json.loads(cluster.kubectl("get", "nodes", "--output=json"))["items"]
    return {
        "cluster": namespace,
        "written": written,
        **{node["metadata"]["name"]: node["metadata"]["uid"] for node in nodes},
    }


@contextmanager
def kept(*clusters: Cluster) -> Iterator[None]:
    """Assert that everything in the clusters before the context still exists afterwards."""
    identities = [identity(cluster) for cluster in clusters]
    yield
    for cluster, before in zip(clusters, identities, strict=True):
        assert before.items() <= identity(cluster).items()


def refused(run: Run, *words: str) -> None:
    """Assert that a run failed without changes, and printed these words."""
    assert run.exit_code == 1, run.output
    assert "Traceback" not in run.output, run.output
    for word in (*words, "no changes were made"):
        assert word in run.output, run.output


def inventory(folder: Path, *, control_planes: list[hosts.Host], workers: list[hosts.Host]) -> Path:
    """Return an inventory of docker hosts of any clusters, with the first control plane's cluster name."""
    name = control_planes[0].data["cluster_name"]

    def entries(group: list[hosts.Host]) -> list[tuple[str, dict[str, object]]]:
        return [(f"@docker/{host.name}", {**host.data, "cluster_name": name}) for host in group]

    path = folder / "mixed.py"
    path.write_text(f"control_plane = {entries(control_planes)!r}\nworkers = {entries(workers)!r}\n")
    return path


def test_a_single_node_with_a_regenerated_kubeconfig_is_left_alone(cluster: Cluster) -> None:
    host = cluster.control_plane
    with kept(cluster):
        cluster.shell(
            host,
            "cd /etc/kubernetes && mv kubelet.conf /root/kubelet.conf && "
            f"kubeadm init phase kubeconfig kubelet --node-name {host} "
            f"--control-plane-endpoint api.{cluster.name}.internal:6443 && systemctl restart kubelet",
        )
        assert "kubelet-client-current" not in cluster.shell(host, "cat /etc/kubernetes/kubelet.conf")
        assert cluster.converge().changed == []
    cluster.shell(host, "mv /root/kubelet.conf /etc/kubernetes/kubelet.conf && systemctl restart kubelet")
    # Until the kubelet knows the pod: when a manifest was moved half a second after its start, etcd ran on for 130 s.
    pods = f"kubectl --kubeconfig /etc/kubernetes/admin.conf get --raw /api/v1/nodes/{host}/proxy/pods"
    until = f"until {pods} 2> /dev/null | grep -q etcd-{host}; do sleep 0.5; done"
    cluster.shell(host, f'timeout {_SECONDS} sh -c "{until}"')


@pytest.mark.parametrize("manifest", ["etcd", pytest.param("kube-apiserver", marks=pytest.mark.chaos)])
def test_a_missing_manifest_is_restored_from_kubeadms_backup(cluster: Cluster, manifest: str) -> None:
    host, backup = cluster.control_plane, "/etc/kubernetes/tmp/kubeadm-backup-manifests-2026-11-28-00-00-00"
    with kept(cluster):
        cluster.shell(host, f"mkdir -p {backup} && mv /etc/kubernetes/manifests/{manifest}.yaml {backup}/")
        await_end_of_api(cluster)
        run = cluster.converge()
        assert "Cluster | Restore missing manifests" in run.changed
        assert cluster.converge().changed == []


def test_a_missing_manifest_without_a_backup_is_reported_at_once(cluster: Cluster) -> None:
    host = cluster.control_plane
    cluster.shell(host, "rm -rf /etc/kubernetes/tmp; mv /etc/kubernetes/manifests/etcd.yaml /root/")
    try:
        await_end_of_api(cluster)
        began = time.monotonic()
        run = cluster.pyinfra("-y", deploy=ROOT / "deploys/preflight.py")
        assert time.monotonic() - began < 60
        refused(run, "/etc/kubernetes/manifests/etcd.yaml is missing")
        assert "kubeadm reset" not in run.output
    finally:
        # While an API server without etcd runs, the kubelet is delayed, and would start etcd minutes later.
        stop_api_server = "crictl ps --quiet --name '^kube-apiserver$' | xargs crictl stop --timeout 0"
        cluster.shell(host, f"{stop_api_server}; mv /root/etcd.yaml /etc/kubernetes/manifests/")
    cluster.converge()


def test_a_run_that_waited_at_the_prompt_does_not_undo_another_runs_changes(cluster: Cluster) -> None:
    hosts.up(cluster=cluster.name, control_planes=1, workers=1, debian=(13,))
    with waiting_at_the_prompt(cluster) as second:
        joined = cluster.converge().changed
        assert "Joining | Join the cluster" in joined
        with kept(cluster):
            second.communicate(b"\n", timeout=600)
            # The plan is based on an outdated state.
            assert second.returncode == 1, output(cluster)
            assert "machines have changed since this run was prepared" in output(cluster)
            assert "no changes were made; run it again" in output(cluster).replace("\n", " ")
    assert cluster.converge().changed == []


@pytest.mark.chaos
def test_no_second_cluster_is_made_while_the_control_plane_is_paused(cluster: Cluster) -> None:
    """The run only fails when its lock expires: until then the control plane may come back."""
    hosts.up(cluster=cluster.name, control_planes=2, workers=1, debian=(13,))
    first, second = cluster.control_planes
    with kept(cluster), start(cluster) as run:
        await_on(cluster, second, run, what="containerd", reached="test -e /usr/local/bin/containerd")
        docker("pause", first)
        try:
            assert run.wait(timeout=600) == 1
        finally:
            docker("unpause", first)
    assert "Traceback" not in output(cluster)
    made = "find /etc/kubernetes/manifests /var/lib/etcd -name '*.yaml' -o -name member 2> /dev/null; true"
    assert cluster.shell(second, made) == ""


@pytest.mark.chaos
def test_no_second_cluster_is_made_while_the_control_plane_reboots(cluster: Cluster) -> None:
    hosts.up(cluster=cluster.name, control_planes=2, workers=1, debian=(13,))
    first, second = cluster.control_planes
    with kept(cluster):
        with start(cluster) as run:
            await_on(cluster, second, run, what="packages", reached="test -e /usr/bin/kubeadm")
            containers.restart(first)
            run.wait(timeout=900)
        assert "Traceback" not in output(cluster)
        cluster.converge()
        await_voters(cluster, names=[first, second])
    assert cluster.converge().changed == []


def test_a_simulated_machine_of_another_cluster_answers_like_a_real_one(other: Cluster) -> None:
    foreign = Host(name="cp-1", begins="foreign control plane")
    assert_answers_as(other, other.control_plane, foreign, name="cp-1", of_cluster=True)


def test_another_clusters_machine_is_not_removed(cluster: Cluster, other: Cluster) -> None:
    mixed = inventory(
        cluster.folder,
        control_planes=[host for host in cluster.hosts if host.group == "control_plane"],
        workers=[*(host for host in cluster.hosts if host.group == "workers"), *other.hosts],
    )
    node = other.hosts[0].data["node_name"]
    for arguments in ((f"--data=node={node}",), (f"--data=node={node}", "--data=force=true")):
        with kept(cluster, other):
            refused(cluster.pyinfra("-y", *arguments, deploy=REMOVE, inventory=mixed), "another cluster")
    with kept(cluster, other):
        confirmed = f"--data=confirm={cluster.name}"
        refused(cluster.pyinfra("-y", confirmed, deploy=RESET, inventory=mixed), "another cluster")
        refused(cluster.pyinfra("-y", inventory=mixed), "another cluster")


def test_another_cluster_at_the_inventorys_address_is_not_reset(cluster: Cluster, other: Cluster) -> None:
    """The operator means the first cluster, but the control plane's address is the other cluster's."""
    command = ("-y", f"--data=cluster_name={cluster.name}")
    wrong = inventory(other.folder, control_planes=other.hosts, workers=[])
    for deploy, arguments in (
        (RESET, (f"--data=confirm={cluster.name}",)),
        (ROOT / "deploys/cluster.py", ()),
        (ROOT / "deploys/preflight.py", ()),
    ):
        with kept(other):
            run = run_command(
                *(*command, f"--data=kubeconfig={other.folder}/none", *arguments, str(wrong), str(deploy))
            )
            refused(run, f"'{other.name}'")


def await_end_of_api(cluster: Cluster) -> None:
    """Wait until the API server is not ready any more."""
    running = "curl --insecure --silent --max-time 2 https://127.0.0.1:6443/readyz | grep -qx ok"
    cluster.shell(cluster.control_plane, f"timeout {_SECONDS} sh -c 'while {running}; do sleep 0.5; done'")


@contextmanager
def waiting_at_the_prompt(cluster: Cluster) -> Iterator["subprocess.Popen[bytes]"]:
    """Run cluster.py until pyinfra waits for the operator's Enter."""
    path = cluster.folder / "output"
    with path.open("w") as file:
        run = subprocess.Popen(
            [PYINFRA, *cluster.command()],
            cwd=ROOT,
            env={**os.environ, "CLUSTER": cluster.name},
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = time.monotonic() + _SECONDS
            while "Press enter to execute" not in path.read_text():
                assert run.poll() is None, path.read_text()
                assert time.monotonic() < deadline, path.read_text()
                time.sleep(0.2)
            yield run
        finally:
            run.kill()
            run.wait()
