"""Reading a cluster's settings: the parser, the script itself, and runs of pyinfra that follow them."""

import base64
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeadm_deploys.cluster.recording import completed, is_missing
from kubeadm_deploys.documents.cluster_record import ClusterRecord
from kubeadm_deploys.facts.cluster_settings import ClusterSettings, ClusterSettingsState
from tests.support.cluster_settings import (
    CLUSTER,
    KUBE_PROXY,
    KUBELET,
    RELEASES,
    answer,
    objects,
    record,
    settings_of,
)
from tests.support.fake_answers import ENVIRONMENT, FRAMED
from tests.support.pyinfra_command import pyinfra
from tests.support.remote_scripts import with_programs

ROOT = Path(__file__).parents[2]


def read(**arguments: Any) -> ClusterSettingsState:
    return settings_of(answer(**arguments))


def test_settings_are_read_from_kubeadms_config_maps_and_ours() -> None:
    found = read(record={**record(), "nodes": '{"w-1": ["disk"]}'})
    assert found == ClusterSettingsState(
        cluster_name="kubernetes",
        control_plane_endpoint="api.kubernetes.internal:6443",
        pod_subnet="10.244.0.0/16",
        service_subnet="10.96.0.0/12",
        dns_domain="cluster.local",
        kubernetes_version="1.37.2",
        certificate_sans=("api.kubernetes.internal", "localhost", "127.0.0.1", "cp-1", "10.0.0.1"),
        configuration=CLUSTER,
        kubelet=KUBELET,
        kube_proxy=KUBE_PROXY,
        kube_proxy_text=yaml.safe_dump(KUBE_PROXY),
        cni="calico",
        cni_version="3.31.0",
        encapsulation="VXLAN",
        pod_mtu=1450,
        record=ClusterRecord(data={**record(), "nodes": '{"w-1": ["disk"]}'}),
    )
    assert found.record.releases == RELEASES
    assert found.record.nodes == {"w-1": frozenset({"disk"})}


def test_optional_settings_are_empty_when_missing() -> None:
    networking = {"dnsDomain": "cluster.local", "serviceSubnet": "10.96.0.0/12"}
    cluster = {
        key: value for key, value in CLUSTER.items() if key not in ("controlPlaneEndpoint", "apiServer")
    }
    lines = answer(cluster={**cluster, "networking": networking}, kube_proxy=None, calico="")[:1]
    found = settings_of(lines)
    assert (found.control_plane_endpoint, found.pod_subnet, found.certificate_sans) == ("", "", ())
    assert (found.kube_proxy, found.cni_version, found.encapsulation) == (None, "", "")
    assert found.record == ClusterRecord()


def test_names_that_look_like_numbers_stay_text() -> None:
    text = "clusterName: 1_000\nkubernetesVersion: v1.37.2\n"
    text += "networking: {dnsDomain: 1.5, serviceSubnet: 10.96.0.0/12}\n"
    (line, *_) = answer(calico="")
    listed = json.loads(base64.b64decode(line.partition(" ")[2]))
    listed["items"][0]["data"]["ClusterConfiguration"] = text
    encoded = base64.b64encode(json.dumps(listed).encode()).decode()
    found = settings_of([f"objects {encoded}"])
    assert (found.cluster_name, found.dns_domain) == ("1_000", "1.5")


@pytest.mark.parametrize(
    ("pool", "encapsulation"),
    [
        ("Never Always", "VXLAN"),
        ("Never CrossSubnet", "VXLAN"),
        ("Always Never", "IPIP"),
        ("Never Never", "None"),
        ("", ""),
        (" ", ""),
    ],
)
def test_encapsulation_is_derived_from_the_pools_modes(pool: str, encapsulation: str) -> None:
    assert read(pool=pool).encapsulation == encapsulation


@pytest.mark.parametrize(
    ("image", "release"),
    [
        ("quay.io/calico/node:v3.31.0", "3.31.0"),
        ("mirror:5000/calico/node:v3.30.5", "3.30.5"),
        ("calico/node:master", ""),
        ("calico/node@sha256:0123", ""),
    ],
)
def test_calicos_release_is_read_from_its_image(image: str, release: str) -> None:
    assert read(calico=image).cni_version == release


def test_the_releases_of_a_clouds_components_are_read_from_their_images() -> None:
    deployments = {
        "hcloud-cloud-controller-manager": [
            "docker.io/hetznercloud/hcloud-cloud-controller-manager:v1.35.0",
        ],
        "hcloud-csi-controller": [
            "registry.k8s.io/sig-storage/csi-attacher:v4.9.0",
            "docker.io/hetznercloud/hcloud-csi-driver:v2.22.1",
        ],
    }
    found = read(deployments=deployments)
    assert found.cloud_versions == {"hcloud-cloud-controller": "1.35.0", "hcloud-csi": "2.22.1"}
    assert (found.running("hcloud-csi"), found.running("calico")) == ("2.22.1", "3.31.0")
    assert read().cloud_versions == {}


@pytest.mark.parametrize(
    "lines",
    [
        [f"objects {base64.b64encode(b'{}').decode()}"],
        [f"objects {base64.b64encode(b'no json').decode()}"],
        answer(cluster={"clusterName": "x"}),
        answer(cluster={**CLUSTER, "networking": None}),
        ["silent refused", "file:kubernetesVersion ", "file:clusterName x"],
    ],
)
def test_incomplete_settings_are_an_error(lines: list[str]) -> None:
    with pytest.raises(ValueError, match="the cluster's configuration"):
        ClusterSettings().process(lines)


@pytest.mark.parametrize("missing", ["kubeadm-config", "kubelet-config"])
def test_a_cluster_whose_init_stored_nothing_has_no_settings(missing: str) -> None:
    listed = objects()
    listed["items"] = [item for item in listed["items"] if item["metadata"]["name"] != missing]
    encoded = base64.b64encode(json.dumps(listed).encode()).decode()
    assert ClusterSettings().process([f"objects {encoded}"]) is None
    assert ClusterSettings().process(["objects "]) is None


KUBE_APISERVER = """
spec:
  containers:
  - command:
    - kube-apiserver
    - --service-cluster-ip-range=10.97.0.0/16
    image: registry.k8s.io/kube-apiserver:v1.35.4
"""
KUBE_CONTROLLER_MANAGER = """
spec:
  containers:
  - command:
    - kube-controller-manager
    - --cluster-cidr=10.200.0.0/16
    - --cluster-name=prod
"""
KUSTOMIZATION = """
resources:
  - calico.yaml
patches:
        veth_mtu: "1430"
                  - name: CALICO_IPV4POOL_VXLAN
                    value: Never
                  - name: CALICO_IPV4POOL_IPIP
                    value: Always
"""
FILES = {
    "etc/kubernetes/manifests/kube-apiserver.yaml": KUBE_APISERVER,
    "etc/kubernetes/manifests/kube-controller-manager.yaml": KUBE_CONTROLLER_MANAGER,
    "etc/kubernetes/admin.conf": "clusters:\n- cluster:\n    server: https://api.prod.internal:6443\n",
    "etc/kubernetes/calico/kustomization.yaml": KUSTOMIZATION,
    "etc/kubernetes/calico/calico.yaml": "        image: quay.io/calico/cni:v3.30.0\n        image: quay.io/calico/node:v3.30.0\n",
    "var/lib/kubelet/config.yaml": "cgroupDriver: systemd\nclusterDomain: example.org\n",
}


def run_script(folder: Path, *, files: dict[str, str], kubectl: str) -> subprocess.CompletedProcess[str]:
    """Run the fact's script on a machine with these files and this kubectl."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (folder / "kubectl").write_text(f"#!/bin/sh\n{kubectl}\n")
    (folder / "kubectl").chmod(0o755)
    script = re.sub(
        r"/(etc/kubernetes|var/lib/kubelet)/",
        rf"{folder}/\1/",
        with_programs(ClusterSettings().command(), folder),
    )
    return subprocess.run(
        ["sh", "-c", script],
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
    )


def test_requests_of_the_script_have_a_time_limit(tmp_path: Path) -> None:
    listed = tmp_path / "objects.json"
    listed.write_text(json.dumps(objects(record=record()), indent=4))
    kubectl = (
        f'echo "$*" >> {tmp_path}/asked; case "$*" in *ippools*) echo Never Always ;; *) cat {listed} ;; esac'
    )
    done = run_script(tmp_path, files=FILES, kubectl=kubectl)
    assert done.returncode == 0, done.stderr
    found = settings_of(done.stdout.splitlines())
    assert found == read(record=record())
    asked = (tmp_path / "asked").read_text().splitlines()
    assert len(asked) == 2
    assert all("--request-timeout=30s" in request for request in asked)


def test_without_calico_no_pool_is_read(tmp_path: Path) -> None:
    listed = tmp_path / "objects.json"
    listed.write_text(json.dumps(objects(calico=""), indent=4))
    kubectl = f'case "$*" in *ippools*) echo no such resource >&2; exit 1 ;; *) cat {listed} ;; esac'
    done = run_script(tmp_path, files={}, kubectl=kubectl)
    assert done.returncode == 0, done.stderr
    assert settings_of(done.stdout.splitlines()).encapsulation == ""


def test_an_unreadable_pool_is_an_error(tmp_path: Path) -> None:
    listed = tmp_path / "objects.json"
    listed.write_text(json.dumps(objects(), indent=4))
    kubectl = f'case "$*" in *ippools*) echo timed out >&2; exit 1 ;; *) cat {listed} ;; esac'
    done = run_script(tmp_path, files={}, kubectl=kubectl)
    assert done.returncode == 1 and "timed out" in done.stderr


def test_without_an_api_server_settings_come_from_files(tmp_path: Path) -> None:
    done = run_script(tmp_path, files=FILES, kubectl="echo noise >&2; echo connection refused >&2; exit 1")
    assert done.returncode == 0, done.stderr
    assert settings_of(done.stdout.splitlines()) == ClusterSettingsState(
        cluster_name="prod",
        control_plane_endpoint="api.prod.internal:6443",
        pod_subnet="10.200.0.0/16",
        service_subnet="10.97.0.0/16",
        dns_domain="example.org",
        kubernetes_version="1.35.4",
        cni="calico",
        cni_version="3.30.0",
        encapsulation="IPIP",
        pod_mtu=1430,
        silent="connection refused",
    )
    assert not list(tmp_path.glob("tmp.*"))


def test_settings_of_missing_files_are_empty(tmp_path: Path) -> None:
    files = {path: text for path, text in FILES.items() if "apiserver" in path}
    done = run_script(tmp_path, files=files, kubectl="exit 1")
    found = settings_of(done.stdout.splitlines())
    assert (found.kubernetes_version, found.service_subnet) == ("1.35.4", "10.97.0.0/16")
    assert (found.cluster_name, found.pod_subnet, found.cni_version, found.encapsulation) == ("",) * 4
    assert found.silent


def test_without_an_api_server_or_its_manifest_reading_fails(tmp_path: Path) -> None:
    done = run_script(tmp_path, files={}, kubectl="echo connection refused >&2; exit 1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "connection refused" in done.stderr


def test_only_missing_releases_are_added_to_a_record() -> None:
    old = ClusterRecord(data={"releases": '{"containerd": "2.2.3", "etcdutl": "3.6.0"}', "later": "x"})
    assert is_missing(old, releases=RELEASES)
    new = completed(old, releases=RELEASES, new=False)
    assert new.releases == {**RELEASES, "containerd": "2.2.3", "etcdutl": "3.6.0"}
    assert new.data.keys() == {"releases", "later"}
    assert not is_missing(new, releases=RELEASES)


def test_a_new_clusters_record_ignores_annotations() -> None:
    assert completed(ClusterRecord(), releases=RELEASES, new=True).nodes == {}
    assert completed(ClusterRecord(), releases=RELEASES, new=False).nodes is None
    kept = ClusterRecord().with_nodes({"w-1": {"disk"}})
    assert completed(kept, releases=RELEASES, new=True).nodes == {"w-1": frozenset({"disk"})}


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"runc": 1}', '{"runc": "latest"}', "[" * 10_000])
def test_damaged_releases_are_ignored_and_written_again(text: str) -> None:
    damaged = ClusterRecord(data={"releases": text, "nodes": "{}"})
    assert (damaged.releases, damaged.nodes, damaged.damaged) == (None, {}, ("releases",))
    assert completed(damaged, releases=RELEASES, new=False).releases == RELEASES


def test_the_record_is_a_config_map_in_kube_system() -> None:
    manifest = yaml.safe_load(ClusterRecord().with_nodes({"w-1": {"b", "a"}, "w-2": ()}).manifest())
    assert manifest == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "kubeadm-deploys", "namespace": "kube-system"},
        "data": {"nodes": '{"w-1": ["a", "b"]}'},
    }


INVENTORY = """
_cluster = {{
    "<<< KubeadmNode": [
        "machine-id m", "have:kubelet.conf", "have:manifests/kube-apiserver.yaml", "rotating", "ca b3Vycw==", "api ok"
    ],
    "<<< ClusterSettings": {settings!r},
    "<<< ContainerRuntime": {runtime!r},
}}
def _host(name, ip, **data):
    return f"@fake/{{name}}", {{"fake_delay": 0, "fake_delay_jitter": 0, "node_name": name, "node_ip": ip, **data}}
control_plane = [_host("cp", "10.0.0.1", fake_responses=_cluster)]
workers = [_host("w", "10.0.0.2")]
"""
DEPLOY = """
from pyinfra import host, inventory, logger
from kubeadm_deploys import follow_cluster, record_releases
from kubeadm_deploys.inventory.data import options_from_data, topology_from_inventory
options = options_from_data(host.data.dict())
topology = topology_from_inventory(inventory, options=options)
options = follow_cluster(options=options, topology=topology)
logger.info(f"{host.name} has {options.kubernetes_version} {options.containerd_version} {options.calico_version}")
record_releases(options=options, topology=topology)
"""
RUNTIME = ["version:containerd 2.2.3", "version:runc 1.4.2"]


def run(tmp_path: Path, settings: object, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pyinfra with deploys that follow a cluster with these settings and write its record."""
    (tmp_path / "inventory.py").write_text(FRAMED + INVENTORY.format(settings=settings, runtime=RUNTIME))
    (tmp_path / "deploy.py").write_text(DEPLOY)
    return pyinfra(
        *("-y", "-vv", *arguments, "inventory.py", "deploy.py"), folder=tmp_path, environment=ENVIRONMENT
    )


OLDER: Any = {**CLUSTER, "kubernetesVersion": "v1.35.4"}


def test_every_host_follows_the_cluster_and_it_is_printed_once(tmp_path: Path) -> None:
    settings = answer(cluster=OLDER, record=record(containerd="2.2.3"), calico="calico/node:v3.30.0")
    done = run(tmp_path, settings)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    for host in ("@fake/cp", "@fake/w"):
        assert f"{host} has 1.35.4 2.2.3 3.31.0" in output
    news = "The cluster has Kubernetes 1.35.4, containerd 2.2.3; this package's defaults are Kubernetes 1.37.2, containerd 2.3.4"
    assert output.count(news) == 1
    # The record exists, so nothing is written and no machine is asked for releases.
    assert "apply --server-side" not in output
    assert "<<< ContainerRuntime" not in output


def test_a_missing_record_is_written_from_the_machines_releases(tmp_path: Path) -> None:
    done = run(tmp_path, answer(cluster=OLDER, calico="calico/node:v3.30.0"))
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    for host in ("@fake/cp", "@fake/w"):
        assert f"{host} has 1.35.4 2.2.3 3.30.0" in output
    assert output.count("apply --server-side") == 1


def test_a_run_with_limit_records_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, answer(), "--limit", "@fake/cp")
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "@fake/cp has 1.37.2 2.2.3 3.31.0" in output
    assert "apply --server-side" not in output


def test_a_release_that_differs_from_the_cluster_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, answer(cluster=OLDER, record=record()), "--data=kubernetes_version=1.37.2")
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert "Traceback" not in output and "Beginning operation run" not in output
    assert (
        "upgrade with 'pyinfra INVENTORY deploys/upgrade.py', or set kubernetes_version to 1.35.4" in output
    )


def test_an_unreadable_cluster_stops_the_run(tmp_path: Path) -> None:
    done = run(tmp_path, {"success": False, "stderr": ["the server was unable to return a response"]})
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert "the server was unable to return a response" in output
    assert "Beginning operation run" not in output
