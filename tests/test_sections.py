"""What the sections would change, from what was found: no machine needed."""

import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys import artifacts, bridged_traffic, cni, container_runtime, kube_packages
from kubeadm_deploys.facts.bridged_traffic import BridgedTraffic
from kubeadm_deploys.facts.cluster_health import ClusterHealth, ClusterHealthState, crowded_dns_pods
from kubeadm_deploys.facts.cni import CniFiles, CniFilesState
from kubeadm_deploys.facts.container_runtime import ContainerRuntime, ContainerRuntimeState
from kubeadm_deploys.facts.kube_packages import KubePackagesState
from kubeadm_deploys.managed_files import differing_files
from kubeadm_deploys.operations.kubeconfig import operator_kubeconfig, server_url
from kubeadm_deploys.options import ClusterOptions
from kubeadm_deploys.text import sha256

OPTIONS = ClusterOptions()


def test_files_differ_when_missing_or_different() -> None:
    wanted = {"/a": "one\n", "/b": "two\n", "/c": "three\n"}
    found = {"/a": sha256("one\n"), "/b": sha256("other\n")}
    assert differing_files(wanted=wanted, found=found) == {"/b", "/c"}


def test_built_in_modules_count_as_present() -> None:
    state = BridgedTraffic().process(
        ["module:overlay loaded", "sysctl:net.ipv4.ip_forward 1", "container docker"]
    )
    assert bridged_traffic.missing_modules(state) == ["br_netfilter"]
    assert bridged_traffic.sysctls_differ(state)
    assert state.in_container


RUNTIME = ContainerRuntimeState(
    architecture="amd64",
    versions={"containerd": "2.3.4", "containerd-shim-runc-v2": "2.3.4", "ctr": "2.3.4", "runc": "1.4.3"},
    plugins={plugin: "1.9.1" for plugin in container_runtime.CNI_PLUGINS} | {"calico": ""},
    active=True,
    enabled=True,
    up_to_date=True,
)


@pytest.mark.parametrize(
    ("change", "outdated"),
    [
        ({}, set()),
        ({"versions": {}}, {"containerd", "runc"}),
        ({"versions": RUNTIME.versions | {"runc": "1.4.2"}}, {"runc"}),
        ({"versions": RUNTIME.versions | {"runc": ""}}, {"runc"}),
        ({"versions": RUNTIME.versions | {"ctr": "2.3.3"}}, {"containerd"}),
        ({"plugins": RUNTIME.plugins | {"portmap": "1.8.0"}}, {"cni_plugins"}),
        ({"plugins": {"calico": ""}}, {"cni_plugins"}),
    ],
)
def test_components_of_another_release_are_outdated(change: dict[str, Any], outdated: set[str]) -> None:
    found = dataclasses.replace(RUNTIME, **change)
    assert container_runtime.outdated_components(found=found, options=OPTIONS) == outdated


@pytest.mark.parametrize(
    ("change", "releases"),
    [
        ({}, {"containerd": "2.3.4", "runc": "1.4.3", "cni-plugins": "1.9.1"}),
        ({"versions": {"runc": "1.4.2", "containerd": ""}}, {"runc": "1.4.2", "cni-plugins": "1.9.1"}),
        (
            {"versions": {}, "plugins": RUNTIME.plugins | {"portmap": "1.8.0"}},
            {},
        ),
        (
            {"versions": {}, "plugins": {"portmap": "1.8.0", "calico": "", "flannel": "1.7.1"}},
            {"cni-plugins": "1.8.0"},
        ),
        ({"versions": {}, "plugins": {"portmap": ""}}, {}),
    ],
)
def test_a_machine_has_the_releases_that_its_programs_say(
    change: dict[str, Any], releases: dict[str, str]
) -> None:
    assert container_runtime.installed_releases(dataclasses.replace(RUNTIME, **change)) == releases


@pytest.mark.parametrize(
    ("change", "outdated", "differing", "restart"),
    [
        ({}, set(), set(), False),
        ({}, {"runc", "cni_plugins"}, {container_runtime.DPKG_FILE}, False),
        ({}, {"containerd"}, set(), True),
        ({}, set(), {container_runtime.CONFIG_FILE}, True),
        ({}, set(), {container_runtime.UNIT_FILE}, True),
        ({"active": False}, set(), set(), True),
        ({"enabled": False}, set(), set(), True),
        ({"up_to_date": False}, set(), set(), True),
        ({"systemd_cgroup": "false"}, set(), set(), True),
        ({"systemd_cgroup": "true"}, set(), set(), False),
    ],
)
def test_containerd_is_restarted_only_for_what_it_reads_at_its_start(
    change: dict[str, Any], outdated: set[str], differing: set[str], restart: bool
) -> None:
    found = dataclasses.replace(RUNTIME, **change)
    assert container_runtime.needs_restart(found=found, outdated=outdated, differing=differing) is restart


def test_a_replaced_program_or_newer_file_means_the_daemon_is_not_up_to_date() -> None:
    running = ["active active", "enabled enabled", "running /usr/local/bin/containerd"]
    assert ContainerRuntime().process(running).up_to_date
    assert not ContainerRuntime().process([*running, "stale /etc/containerd/config.toml"]).up_to_date
    assert (
        not ContainerRuntime()
        .process([*running[:2], "running /usr/local/bin/containerd (deleted)"])
        .up_to_date
    )


@pytest.mark.parametrize(
    ("containerd", "kubernetes", "lines"),
    [
        ("1.7.34", "1.36.3", ["version = 2", 'sandbox_image = "registry.k8s.io/pause:3.10.2"']),
        ("2.2.7", "1.35.4", ["version = 3", 'sandbox = "registry.k8s.io/pause:3.10.1"']),
        ("2.3.4", "1.36.3", ["version = 4", 'sandbox = "registry.k8s.io/pause:3.10.2"']),
    ],
)
def test_the_configuration_has_the_releases_schema_and_kubeadms_sandbox_image(
    containerd: str, kubernetes: str, lines: list[str]
) -> None:
    options = ClusterOptions(containerd_version=containerd, kubernetes_version=kubernetes)
    written = container_runtime.configuration_files(options)[container_runtime.CONFIG_FILE]
    found = [line.strip() for line in written.splitlines()]
    assert [line for line in [*lines, "SystemdCgroup = true"] if line not in found] == []


def test_a_mirror_gets_a_file_for_every_registry() -> None:
    written = container_runtime.configuration_files(ClusterOptions(mirror="http://10.0.0.9:8080"))
    path = "/etc/containerd/certs.d/quay.io/hosts.toml"
    assert 'server = "https://quay.io"' in written[path]
    assert '[host."http://10.0.0.9:8080/v2/quay.io"]' in written[path]
    assert not any("certs.d" in path for path in container_runtime.configuration_files(OPTIONS))


def installed(**versions: str) -> KubePackagesState:
    tools = {tool: "1.0" for tool in kube_packages.TOOLS}
    return KubePackagesState(versions=tools | versions)


def test_packages_of_another_release_are_wanted_by_version() -> None:
    found = installed(kubelet="1.36.3-1.1", kubeadm="1.36.30-1.1", kubectl="1.35.4-1.1")
    assert kube_packages.wanted_packages(found=found, options=OPTIONS) == [
        "kubeadm=1.36.3-*",
        "kubectl=1.36.3-*",
    ]


def test_missing_tools_are_wanted() -> None:
    found = installed(kubelet="1.36.3-1.1", kubeadm="1.36.3-2.1", kubectl="1.36.3-1.1")
    assert kube_packages.wanted_packages(found=found, options=OPTIONS) == []
    del found.versions["conntrack"]
    assert kube_packages.wanted_packages(found=found, options=OPTIONS) == ["conntrack"]


@pytest.mark.parametrize(
    ("kubelet", "fails"),
    [
        ({"has-node", "enabled", "active"}, False),
        ({"has-node", "enabled"}, True),
        ({"has-node", "active"}, True),
        ({"enabled", "active"}, False),
        ({"enabled"}, False),
        (set(), True),
    ],
)
def test_a_kubelet_has_to_run_where_kubeadm_has_made_a_node(kubelet: set[str], fails: bool) -> None:
    found = dataclasses.replace(installed(kubelet="1.36.3-1.1"), kubelet=frozenset(kubelet))
    assert kube_packages.kubelet_fails(found=found) is fails


def test_a_kubelet_that_is_not_installed_has_not_to_run() -> None:
    assert not kube_packages.kubelet_fails(found=installed())


def test_apt_knows_only_the_wanted_minor() -> None:
    files = kube_packages.apt_files(ClusterOptions(kubernetes_version="1.35.4"))
    assert files[kube_packages.SOURCES_FILE] == (
        "deb [signed-by=/etc/apt/keyrings/kubernetes-apt-keyring.gpg]"
        " https://pkgs.k8s.io/core:/stable:/v1.35/deb/ /\n"
    )
    assert "Pin: version 1.35.4-*\n" in files[kube_packages.PREFERENCES_FILE]


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
    found = cni.pod_mtu(options=options, interface_mtu=1450)
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
    found = CniFilesState(files=files or {}, releases=releases or {}, mtu=1500)
    return cni.manifest_to_fetch(options=options, found=found, path=CALICO)


def test_calicos_manifest_is_fetched_unless_it_is_there() -> None:
    file = fetched_calico(OPTIONS)
    assert file and file.url.endswith("/v3.31.0/manifests/calico-vxlan.yaml")
    assert fetched_calico(OPTIONS, files={CALICO: file.sha256}) is None
    # What somebody has edited says the same release.
    assert fetched_calico(OPTIONS, files={CALICO: "0" * 64}, releases={CALICO: "3.31.0"}) == file


def test_a_manifest_without_a_known_checksum_counts_where_it_is_there() -> None:
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
    command = str(CniFiles().command(node_ip="127.0.0.1", paths=paths))
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert CniFiles().process(done.stdout.splitlines()).releases == {
        paths[0]: "3.29.9",
        paths[1]: "",
        paths[2]: "",
    }


def test_calicos_plugin_is_told_the_api_endpoint_instead_of_the_installers_malformed_one() -> None:
    options = ClusterOptions(cluster_name="blue")
    document = yaml.safe_load(cni.kustomization(options=options, mtu=1450))
    config = yaml.safe_load(document["patches"][0]["patch"])["data"]["cni_network_config"]
    calico, _ = json.loads(config.replace("__CNI_MTU__", "1450"))["plugins"]
    assert calico["kubernetes"] == {
        "kubeconfig": "__KUBECONFIG_FILEPATH__",
        "k8s_api_root": f"https://{options.endpoint}:6443",
    }


def test_the_users_mtu_counts_before_the_interfaces() -> None:
    assert cni.pod_mtu(options=ClusterOptions(pod_mtu=1350), interface_mtu=1500) == 1350


def health(nodes: dict[str, bool], dns_pods: dict[str, str]) -> ClusterHealthState:
    return ClusterHealthState(nodes=nodes, dns_pods=dns_pods)


@pytest.mark.parametrize(
    ("nodes", "dns_pods", "crowded"),
    [
        ({"a": True}, {"dns-1": "a", "dns-2": "a"}, 0),
        ({"a": True, "b": True}, {"dns-1": "a", "dns-2": "a"}, 1),
        ({"a": True, "b": False}, {"dns-1": "a", "dns-2": "a"}, 0),
        ({"a": True, "b": True}, {"dns-1": "a", "dns-2": "b"}, 0),
        ({"a": True, "b": True, "c": True}, {"dns-1": "a", "dns-2": "a", "dns-3": "a"}, 2),
        ({"a": True, "b": True}, {"dns-1": "a", "dns-2": "a", "dns-3": "a"}, 1),
        ({"a": True, "b": True, "c": True}, {"dns-1": "a"}, 0),
        ({}, {}, 0),
    ],
)
def test_dns_pods_are_moved_only_where_a_ready_node_has_none(
    nodes: dict[str, bool], dns_pods: dict[str, str], crowded: int
) -> None:
    assert len(crowded_dns_pods(health(nodes, dns_pods))) == crowded


def test_health_reads_what_kubectl_prints() -> None:
    state = ClusterHealth().process(
        [
            "Node|cp-1|True||||||||",
            "Node|worker-1|False|node.cloudprovider.kubernetes.io/uninitialized|||||||",
            "Pod|coredns-1|True||kube-dns||cp-1|||||",
            "Pod|coredns-2|||kube-dns|||||||",
            "Pod|coredns-3|True||kube-dns|2026-11-24T00:00:00Z|worker-1|||||",
            "Pod|calico-node-1|True||calico-node||cp-1|||||",
            "Deployment|coredns|||kube-dns|||1|1|2|2|1",
            "Deployment|calico-kube-controllers|||calico-kube-controllers|||2|1|1|1|1",
            "DaemonSet|kube-proxy|||kube-proxy|||1|1|2|2|2",
            "DaemonSet|calico-node|||calico-node|||1|1|1||",
        ]
    )
    assert state.nodes == {"cp-1": True, "worker-1": False}
    assert state.uninitialized == ["worker-1"]
    assert state.dns_pods == {"coredns-1": "cp-1"}
    assert state.workloads == {
        "deployment/coredns": False,
        "deployment/calico-kube-controllers": False,
        "daemonset/kube-proxy": True,
        "daemonset/calico-node": False,
    }


def test_the_operators_kubeconfig_is_reachable_and_can_be_merged() -> None:
    admin_conf = yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "kubernetes",
                    "cluster": {
                        "server": "https://api.shop.internal:6443",
                        "certificate-authority-data": "Q0E=",
                    },
                }
            ],
            "users": [{"name": "kubernetes-admin", "user": {"client-key-data": "S0VZ"}}],
            "contexts": [{"name": "x", "context": {"cluster": "kubernetes", "user": "kubernetes-admin"}}],
            "current-context": "x",
        }
    )
    document = yaml.safe_load(
        operator_kubeconfig(
            admin_conf,
            cluster_name="shop",
            server="https://203.0.113.10:6443",
            tls_server_name="api.shop.internal",
        )
    )
    assert document["current-context"] == "shop"
    assert document["contexts"] == [{"name": "shop", "context": {"cluster": "shop", "user": "shop-admin"}}]
    assert document["users"] == [{"name": "shop-admin", "user": {"client-key-data": "S0VZ"}}]
    assert document["clusters"][0]["cluster"] == {
        "server": "https://203.0.113.10:6443",
        "certificate-authority-data": "Q0E=",
        "tls-server-name": "api.shop.internal",
    }


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("203.0.113.10", "https://203.0.113.10:6443"),
        ("k8s.example.com", "https://k8s.example.com:6443"),
        ("2001:db8::1", "https://[2001:db8::1]:6443"),
    ],
)
def test_the_operator_reaches_the_api_by_name_and_by_addresses_of_both_families(
    address: str, url: str
) -> None:
    assert server_url(address, port=6443) == url
