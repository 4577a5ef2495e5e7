"""Calico: what it gets of the options, and how its manifest is fetched."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.cni.calico import network as cni
from kubeadm_deploys.cni.calico.network import CniFiles, CniFilesState
from kubeadm_deploys.model import artifacts
from kubeadm_deploys.model.options import ClusterOptions

OPTIONS = ClusterOptions()


@pytest.mark.parametrize(
    ("encapsulation", "manifest", "vxlan", "ipip", "mtu"),
    [
        ("VXLAN", "calico-vxlan.yaml", "Always", "Never", 1400),
        ("IPIP", "calico.yaml", "Never", "Always", 1430),
        ("None", "calico.yaml", "Never", "Never", 1450),
    ],
)
def test_calico_gets_pod_subnet_encapsulation_and_mtu(
    encapsulation: str, manifest: str, vxlan: str, ipip: str, mtu: int
) -> None:
    options = ClusterOptions(encapsulation=encapsulation, pod_subnet="172.20.0.0/16")
    # Hetzner's private networks have an MTU of 1450.
    found = cni.pod_mtu(options=options, interface_mtus=[1450])
    assert found == mtu
    document = yaml.safe_load(cni.kustomization(options=options, mtu=found))
    assert document["resources"] == [manifest]
    config, daemon_set = (yaml.safe_load(patch["patch"]) for patch in document["patches"])
    assert config["data"].keys() == {"veth_mtu", "cni_network_config"}
    assert config["data"]["veth_mtu"] == str(mtu)
    pod = daemon_set["spec"]["template"]["spec"]
    assert {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]} == {
        "CALICO_IPV4POOL_CIDR": "172.20.0.0/16",
        "CALICO_IPV4POOL_VXLAN": vxlan,
        "CALICO_IPV4POOL_IPIP": ipip,
        "IP_AUTODETECTION_METHOD": "kubernetes-internal-ip",
    }


CALICO = "/etc/kubernetes/calico/calico-vxlan.yaml"


def fetched_calico(
    options: ClusterOptions, *, files: dict[str, str] | None = None, releases: dict[str, str] | None = None
) -> artifacts.ReleaseFile | None:
    found = CniFilesState(files=files or {}, releases=releases or {})
    return cni.manifest_to_fetch(options=options, found=found, path=CALICO)


def test_calicos_manifest_is_fetched_unless_it_is_present() -> None:
    file = fetched_calico(OPTIONS)
    assert file and file.url.endswith("/v3.31.0/manifests/calico-vxlan.yaml")
    assert fetched_calico(OPTIONS, files={CALICO: file.sha256}) is None
    # An edited manifest still names its release.
    assert fetched_calico(OPTIONS, files={CALICO: "0" * 64}, releases={CALICO: "3.31.0"}) == file


def test_a_present_manifest_without_a_known_checksum_is_accepted() -> None:
    options = OPTIONS.following({"calico_version": "3.29.9"})
    assert fetched_calico(options, files={CALICO: "0" * 64}, releases={CALICO: "3.29.9"}) is None
    for releases in ({}, {CALICO: ""}, {CALICO: "3.31.0"}):
        with pytest.raises(
            DeployError, match=r"no checksum is known for https.*the cluster has Calico 3\.29\.9"
        ):
            fetched_calico(options, files={CALICO: "0" * 64}, releases=releases)


def test_the_release_of_a_manifest_is_read(tmp_path: Path) -> None:
    manifest, other = tmp_path / "calico.yaml", tmp_path / "kustomization.yaml"
    manifest.write_text("  image: quay.io/calico/cni:v3.1.0\n  image: quay.io/calico/node:v3.29.9\n")
    other.write_text("resources: []\n")
    paths = (str(manifest), str(other), str(tmp_path / "missing"))
    command = str(CniFiles().command(paths=paths))
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert CniFiles().process(done.stdout.splitlines()).releases == {
        paths[0]: "3.29.9",
        paths[1]: "",
        paths[2]: "",
    }


def test_calicos_plugin_gets_the_api_endpoint_instead_of_the_installers_malformed_one() -> None:
    options = ClusterOptions(cluster_name="blue")
    document = yaml.safe_load(cni.kustomization(options=options, mtu=1450))
    config = yaml.safe_load(document["patches"][0]["patch"])["data"]["cni_network_config"]
    calico, _ = json.loads(config.replace("__CNI_MTU__", "1450"))["plugins"]
    assert calico["kubernetes"] == {
        "kubeconfig": "__KUBECONFIG_FILEPATH__",
        "k8s_api_root": f"https://{options.endpoint}:6443",
    }


def test_the_users_mtu_overrides_the_interfaces() -> None:
    assert cni.pod_mtu(options=ClusterOptions(pod_mtu=1350), interface_mtus=[1500, 1400]) == 1350


@pytest.mark.parametrize(
    ("interface_mtus", "current", "mtu"),
    [
        ([1500, 1400], 0, 1350),
        ([1500, 1400], 1300, 1350),
        # One node is not part of the run, or its value cannot be that of a network: it may be smaller.
        ([1500, 0], 0, 1450),
        ([1500, 0], 1350, 1350),
        ([1400, 0], 1450, 1350),
        ([1500, 65536], 1350, 1350),
        ([65536, 65536], 1350, 1350),
        ([500], 0, 0),
    ],
)
def test_the_smallest_interface_of_all_nodes_counts(
    interface_mtus: list[int], current: int, mtu: int
) -> None:
    assert cni.pod_mtu(options=ClusterOptions(), interface_mtus=interface_mtus, current=current) == mtu
