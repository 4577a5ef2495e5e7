"""One control plane and one worker made from bare hosts with the user's command line."""

import json
import stat
from dataclasses import dataclass

import pytest
import yaml

from kubeadm_deploys.documents.kubeadm_documents import init_document, join_document
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.verification.options import AGNHOST_IMAGE
from tests.e2e import machine
from tests.e2e.conftest import ROOT, Cluster, completed
from tests.e2e.pretended import assert_answers_as
from tests.e2e.small.conftest import Made, outcomes
from tests.lab.docker import docker
from tests.simulation.history import Host
from tests.simulation.machine import Machine
from tests.simulation.world import World

REGISTRIES = {"registry.k8s.io", "quay.io", "docker.io"}


def test_a_cold_run_succeeds_on_both_debian_releases(made: Made) -> None:
    cluster = made.cluster
    created = outcomes(made.printed, "Control plane | Create the control plane")
    assert created[cluster.control_plane] == "Success"
    assert outcomes(made.printed, "Joining | Join the cluster")[cluster.worker] == "Success"
    nodes = json.loads(cluster.kubectl("get", "nodes", "--output=json"))["items"]
    assert [node["status"]["nodeInfo"]["osImage"].split("(")[1] for node in nodes] == ["bookworm)", "trixie)"]
    assert cluster.ready_nodes == [cluster.control_plane, cluster.worker]


def test_a_pod_gets_a_network_before_calico_corrects_its_installers_kubeconfig(cluster: Cluster) -> None:
    """When calico-node starts, its installer puts brackets around the server, as around an IPv6 address."""
    file = "/etc/cni/net.d/calico-kubeconfig"
    installed = f"server: https://[api.{cluster.name}.internal]:6443"
    # calico-node corrects the file once; wait, or it undoes the change of this test.
    cluster.shell(cluster.worker, f"timeout 180 sh -c 'while grep -Fq [api {file}; do sleep 1; done'")
    cluster.shell(cluster.worker, f"cp -p {file} /root/ && sed -i 's#server: .*#{installed}#' {file}")
    container = {"name": "early", "image": AGNHOST_IMAGE, "args": ["pause"]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "early", "namespace": "default"},
        "spec": {
            "nodeName": cluster.worker,
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
        },
    }
    try:
        cluster.apply(pod)
        cluster.kubectl("wait", "--for=condition=Ready", "pod/early", "--timeout=180s")
        cluster.kubectl("delete", "pod/early", "--timeout=180s")
        assert installed in cluster.shell(cluster.worker, f"cat {file}")
    finally:
        cluster.shell(cluster.worker, f"mv /root/calico-kubeconfig {file}")
        cluster.kubectl("delete", "pod/early", "--ignore-not-found", "--wait=false")


def test_calicos_plugin_configuration_differs_from_the_manifest_only_in_the_server(cluster: Cluster) -> None:
    manifest = cluster.shell(cluster.control_plane, "cat /etc/kubernetes/calico/calico-vxlan.yaml")
    (released,) = [text for text in manifest.split("\n---\n") if "\n  cni_network_config:" in text]
    used = cluster.kubectl("get", "configmap", "calico-config", "--namespace=kube-system", "--output=json")
    wanted, configured = (
        json.loads(data["cni_network_config"].replace("__CNI_MTU__", "0"))
        for data in (yaml.safe_load(released)["data"], json.loads(used)["data"])
    )
    server = configured["plugins"][0]["kubernetes"].pop("k8s_api_root")
    assert server == f"https://api.{cluster.name}.internal:6443"
    assert configured == wanted


def test_a_second_run_changes_nothing(cluster: Cluster) -> None:
    run, sent = cluster.recorded()
    assert run.changed == []
    # Each host is read while the run is prepared and once it holds the lock; the leader also reports the
    # cluster's state, and releases the lock.
    assert sent == {cluster.control_plane: 5, cluster.worker: 2}
    assert [operation["error"] for operation in run.operations if operation["error"]] == []
    assert "Control plane | Create the control plane" in [operation["name"] for operation in run.operations]


def test_a_dry_run_on_the_cluster_shows_no_change(cluster: Cluster) -> None:
    run = cluster.pyinfra("--json", "--dry")
    assert run.exit_code == 0, run.output
    planned = json.loads(run.stdout)["plan"]
    assert planned
    assert [operation for operation in planned if operation["hosts_with_change"]] == []


def test_the_status_of_a_healthy_cluster(cluster: Cluster) -> None:
    run = cluster.pyinfra("-y", "--data=output=json", deploy=ROOT / "deploys/status.py")
    assert run.exit_code == 0, run.output
    status = json.loads(run.stdout)
    assert [(node["name"], node["ready"], node["cordoned"]) for node in status["nodes"]] == [
        (host.name, True, False) for host in cluster.hosts
    ]
    assert [(row["api_server"], row["etcd"]) for row in status["control_planes"]] == [("ok", "leader")]
    names = {certificate["path"] for certificate in status["certificates"]}
    assert names >= {"pki/ca.crt", "pki/etcd/server.crt", "admin.conf", "kubelet.conf"}
    assert (status["differences"], status["attention"]) == ([], [])


def test_the_verification_suites_pass(cluster: Cluster) -> None:
    run = cluster.verify("-rs")
    assert run.exit_code == 0, run.output
    skipped = [line for line in run.output.splitlines() if line.startswith("SKIPPED")]
    assert [line for line in skipped if "load_balancers" in line] == []


def test_kubeadm_accepts_the_documents(cluster: Cluster) -> None:
    options = ClusterOptions(
        certificate_sans=("k8s.example.com", "203.0.113.7"),
        kubelet_configuration={"maxPods": 200},
        swap="keep",
    )
    node = Node(host="x", name="node-1", ip="10.0.0.2", address="203.0.113.10")
    topology = Topology(control_planes=(node,), workers=())
    token = "abcdef.0123456789abcdef"
    ca = cluster.shell(cluster.control_plane, "cat /etc/kubernetes/pki/ca.crt")
    validate = (
        "docker",
        "exec",
        "-i",
        cluster.control_plane,
        "kubeadm",
        "config",
        "validate",
        "--config=/dev/stdin",
    )
    for document in (
        init_document(options=options, topology=topology, node=node, token=token),
        join_document(options=options, node=node, control_plane=False, token=token, ca_certificate=ca),
        join_document(options=options, node=node, control_plane=True, token=token, ca_certificate=ca),
    ):
        done = completed(validate, input=document)
        assert done.returncode == 0, done.stderr
        assert "unknown field" not in done.stderr


CONTAINERD_CONFIG = "/etc/containerd/config.toml"


@dataclass(frozen=True, kw_only=True)
class Drift:
    """A manual change of a node, a command that detects it, and the operation that repairs it."""

    done: str
    seen: str
    repair: str


DRIFTS = {
    "files edited, packages unheld, services stopped": (
        Drift(
            done="sed -i 's/ip_forward = 1/ip_forward = 0/' /etc/sysctl.d/k8s.conf",
            seen="grep -q 'ip_forward = 0' /etc/sysctl.d/k8s.conf",
            repair="Bridged traffic | Write /etc/sysctl.d/k8s.conf",
        ),
        Drift(
            done="systemctl stop containerd",
            seen="! systemctl is-active containerd",
            repair="Container runtime | Run containerd",
        ),
        Drift(
            done="apt-mark unhold kubelet",
            seen="! apt-mark showhold | grep -qx kubelet",
            repair="Kubernetes packages | Hold the Kubernetes packages",
        ),
        Drift(
            done="systemctl disable --now kubelet",
            seen="! systemctl is-active kubelet",
            repair="Kubernetes packages | Run the kubelet",
        ),
    ),
    "the kernel, a program and the runtime changed": (
        Drift(
            done="sysctl -qw net.ipv4.ip_forward=0",
            seen="[ $(cat /proc/sys/net/ipv4/ip_forward) = 0 ]",
            repair="Bridged traffic | Set the sysctls in the running kernel",
        ),
        Drift(
            done="cp /bin/true /usr/local/sbin/runc.new && mv /usr/local/sbin/runc.new /usr/local/sbin/runc",
            seen="! runc --version | grep -q 'runc version'",
            repair="Container runtime | Install runc 1.4.3",
        ),
        Drift(
            done=f"sed -i 's/SystemdCgroup = true/SystemdCgroup = false/' {CONTAINERD_CONFIG}",
            seen=f"grep -q 'SystemdCgroup = false' {CONTAINERD_CONFIG}",
            repair=f"Container runtime | Write {CONTAINERD_CONFIG}",
        ),
    ),
}
FOLLOWS = {f"Container runtime | Write {CONTAINERD_CONFIG}": "Container runtime | Run containerd"}
"""Operations that run because another one changed something."""


@pytest.mark.parametrize("drifts", DRIFTS.values(), ids=DRIFTS)
def test_drift_is_repaired_and_nothing_else_touched(cluster: Cluster, drifts: tuple[Drift, ...]) -> None:
    for drift in drifts:
        cluster.shell(cluster.worker, drift.done)
    for drift in drifts:
        cluster.shell(cluster.worker, drift.seen)
    run = cluster.converge()
    repairs = {drift.repair for drift in drifts}
    assert set(run.changed) == repairs | {FOLLOWS[repair] for repair in repairs & FOLLOWS.keys()}
    assert {host for operation in run.operations for host in operation["success"]} == {
        f"@docker/{cluster.worker}"
    }
    assert cluster.converge().changed == []


def test_roles_labels_and_taints_follow_the_inventorys_data(cluster: Cluster) -> None:
    placed = ["Node labels | Set roles, labels and taints"]
    data = (
        '--data=node_labels={"disk": "ssd"}',
        '--data=node_roles=["web"]',
        '--data=node_taints=["spot=yes:PreferNoSchedule"]',
    )
    before = marks(cluster)
    cluster.kubectl("label", "node", cluster.worker, "theirs=kept")
    cluster.kubectl("taint", "node", cluster.worker, "theirs:PreferNoSchedule")
    assert cluster.converge(*data).changed == placed
    assert cluster.converge(*data).changed == []
    for host in cluster.hosts:
        labels, taints = marks(cluster)[host.name]
        assert {"disk": "ssd", "node-role.kubernetes.io/web": ""}.items() <= labels.items()
        # On a control plane, taints of the data replace kubeadm's.
        theirs = {"theirs:PreferNoSchedule"} if host.name == cluster.worker else set()
        assert taints == {"spot=yes:PreferNoSchedule"} | theirs

    assert cluster.converge().changed == placed
    assert cluster.converge().changed == []
    labels, taints = marks(cluster)[cluster.worker]
    assert labels["theirs"] == "kept"
    assert taints == {"theirs:PreferNoSchedule"}
    cluster.kubectl("label", "node", cluster.worker, "theirs-")
    cluster.kubectl("taint", "node", cluster.worker, "theirs:PreferNoSchedule-")
    assert marks(cluster) == before


def marks(cluster: Cluster) -> dict[str, tuple[dict[str, str], set[str]]]:
    """Return labels and taints by node."""
    nodes = json.loads(cluster.kubectl("get", "nodes", "--output=json"))["items"]
    return {
        node["metadata"]["name"]: (
            node["metadata"]["labels"],
            {
                f"{taint['key']}{'=' * ('value' in taint)}{taint.get('value', '')}:{taint['effect']}"
                for taint in node["spec"].get("taints", [])
            },
        )
        for node in nodes
    }


def test_every_image_has_its_upstream_name(cluster: Cluster) -> None:
    pods = json.loads(cluster.kubectl("get", "pods", "--all-namespaces", "--output=json"))["items"]
    images = {container["image"] for pod in pods for container in pod["spec"]["containers"]}
    assert len(images) >= 8
    assert {image for image in images if image.partition("/")[0] not in REGISTRIES} == set()
    for host in cluster.hosts:
        on_disk = cluster.shell(
            host.name, "ctr --namespace k8s.io images list --quiet | grep -v ^sha256:"
        ).split()
        assert {image for image in on_disk if image.partition("/")[0] not in REGISTRIES} == set()


def test_the_kubeconfig_is_private_and_works_from_the_machine(cluster: Cluster) -> None:
    assert stat.S_IMODE(cluster.kubeconfig.stat().st_mode) == 0o600
    document = yaml.safe_load(cluster.kubeconfig.read_text())
    server = document["clusters"][0]["cluster"]
    assert server["tls-server-name"] == f"api.{cluster.name}.internal"
    # kubectl of a worker, but with this file.
    listed = completed(
        [
            *("docker", "exec", "-i", cluster.worker),
            *("kubectl", "--kubeconfig=/dev/stdin", "get", "nodes", "--output=name"),
        ],
        input=cluster.kubeconfig.read_text(),
    )
    assert listed.stdout.split() == [f"node/{host.name}" for host in cluster.hosts], listed.stderr


def test_no_join_token_is_left(cluster: Cluster) -> None:
    secrets = cluster.kubectl("get", "secrets", "--namespace=kube-system", "--output=name")
    assert "bootstrap-token" not in secrets


def test_no_secret_is_in_the_output(made: Made) -> None:
    assert "PRIVATE KEY" not in made.printed
    assert "client-key-data" not in made.printed


def test_a_member_of_another_cluster_is_refused_and_not_changed(cluster: Cluster) -> None:
    ca = "/etc/kubernetes/pki/ca.crt"
    other = docker("exec", cluster.control_plane, "cat", "/etc/kubernetes/pki/front-proxy-ca.crt")
    cluster.shell(cluster.worker, f"cp {ca} {ca}.kept")
    docker("exec", "--interactive", cluster.worker, "tee", ca, input=other)
    try:
        run = cluster.pyinfra("-y")
        assert run.exit_code == 1
        assert f"{cluster.worker}: is a node of another cluster" in run.output
        assert cluster.shell(cluster.worker, "systemctl is-active kubelet") == "active"
        assert cluster.shell(cluster.worker, f"cat {ca}") == other.strip()
    finally:
        cluster.shell(cluster.worker, f"mv {ca}.kept {ca}")
    assert cluster.converge().changed == []


PRETENDED = (Host(name="cp-1", begins="member"), Host(name="worker-1", begins="member"))


def test_simulated_members_answer_like_real_ones(cluster: Cluster) -> None:
    assert_answers_as(cluster, cluster.control_plane, *PRETENDED, name="cp-1", of_cluster=True)
    assert_answers_as(cluster, cluster.worker, *PRETENDED, name="worker-1")


def test_a_simulated_control_plane_with_stopped_pods_answers_like_a_real_one(cluster: Cluster) -> None:
    def ended(world: World, machine: Machine) -> None:
        machine.active.discard("kubelet")
        machine.pods = False

    host = cluster.control_plane
    runtime = "crictl --runtime-endpoint unix:///run/containerd/containerd.sock"
    cluster.shell(host, f"systemctl stop kubelet && {runtime} ps --quiet | xargs {runtime} stop > /dev/null")
    try:
        assert_answers_as(cluster, host, *PRETENDED, name="cp-1", of_cluster=True, change=ended)
    finally:
        cluster.shell(host, "systemctl start kubelet")
        cluster.converge()


def test_the_machine_that_runs_the_hosts_is_unchanged(cluster: Cluster) -> None:
    before, after = cluster.machine_before, machine.snapshot()
    changed = {key for key in before | after if before.get(key) != after.get(key)}
    assert changed == set()
