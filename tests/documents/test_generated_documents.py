"""Files that are generated from valid options: each is parsed again and contains exactly the given values.

tests/e2e/small/test_generated_documents.py checks the documents with the programs that read them.
"""

import ipaddress
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hypothesis import given
from hypothesis import strategies as st

from kubeadm_deploys.clouds.hetzner import controller as cloud_controller
from kubeadm_deploys.clouds.hetzner.place import HetznerCloud
from kubeadm_deploys.cni.calico import addresses as load_balancers
from kubeadm_deploys.cni.calico import network as cni
from kubeadm_deploys.documents import hosts_file, kubeadm_documents
from kubeadm_deploys.endpoints import local_proxy
from kubeadm_deploys.model import artifacts
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.run import failure_report
from kubeadm_deploys.sections import container_runtime, kube_packages, kubelet_dns
from kubeadm_deploys.sections.readiness import operator_kubeconfig, server_url
from tests.support import certificates, go_yaml
from tests.support.generated_clusters import clusters, settings
from tests.support.hypothesis_profile import some
from tests.support.strategies import LABELS, URLS

TOKEN = "abcdef.0123456789abcdef"
CA_CERTIFICATE = certificates.self_signed()
OPTIONS = settings().map(lambda written: ClusterOptions(**written))


def flags(registration: dict[str, Any]) -> dict[str, str]:
    return {flag["name"]: flag["value"] for flag in registration["kubeletExtraArgs"]}


def assert_taints(registration: dict[str, Any], node: Node) -> None:
    """Without taints in the data, not even an empty list, kubeadm sets its own."""
    assert ("taints" in registration) is (node.taints is not None)
    written = [
        f"{taint['key']}={taint['value']}:{taint['effect']}" for taint in registration.get("taints", [])
    ]
    assert written == [taint if "=" in taint else taint.replace(":", "=:") for taint in node.taints or ()]


@some
@given(clusters())
def test_the_documents_of_kubeadm_init(cluster: tuple[ClusterOptions, Topology]) -> None:
    options, topology = cluster
    for node in topology.control_planes:
        text = kubeadm_documents.init_document(options=options, topology=topology, node=node, token=TOKEN)
        init, shared, kubelet, kube_proxy = go_yaml.read_all(text)
        assert init["kind"] == "InitConfiguration"
        assert init["localAPIEndpoint"]["advertiseAddress"] == node.ip
        assert init["nodeRegistration"]["name"] == node.name
        assert_taints(init["nodeRegistration"], node)
        assert init["nodeRegistration"]["ignorePreflightErrors"] == list(options.ignore_preflight_errors)
        assert shared["kind"] == "ClusterConfiguration"
        assert shared["clusterName"] == options.cluster_name
        assert shared["kubernetesVersion"] == f"v{options.kubernetes_version}"
        assert shared["controlPlaneEndpoint"] == f"{options.endpoint}:6443"
        assert shared["networking"] == {
            "podSubnet": str(options.pod_subnet),
            "serviceSubnet": str(options.service_subnet),
            "dnsDomain": options.dns_domain,
        }
        names = shared["apiServer"]["certSANs"]
        assert {options.endpoint, node.name, node.ip, *options.certificate_sans} <= set(names)
        assert [name for name in names if not isinstance(name, str) or "_" in name] == []
        own = {"apiVersion", "kind", "resolvConf", "failSwapOn", "cgroupDriver"}
        given_fields = dict(options.kubelet_configuration)
        assert {key: value for key, value in kubelet.items() if key not in own - given_fields.keys()} == {
            **given_fields,
            **({"cgroupDriver": "systemd"} if "cgroupDriver" in given_fields else {}),
        }
        assert (kubelet["kind"], kubelet["cgroupDriver"]) == ("KubeletConfiguration", "systemd")
        assert kube_proxy == {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            **options.kube_proxy_configuration,
        }


@some
@given(clusters())
def test_the_documents_of_kubeadm_join(cluster: tuple[ClusterOptions, Topology]) -> None:
    options, topology = cluster
    for node in topology.nodes:
        text = kubeadm_documents.join_document(
            options=options,
            node=node,
            control_plane=node in topology.control_planes,
            token=TOKEN,
            ca_certificate=CA_CERTIFICATE,
        )
        document = go_yaml.read(text)
        assert document["discovery"]["bootstrapToken"]["apiServerEndpoint"] == f"{options.endpoint}:6443"
        assert document["nodeRegistration"]["name"] == node.name
        assert_taints(document["nodeRegistration"], node)
        found = flags(document["nodeRegistration"])
        assert found["node-ip"] == node.ip
        assert found.get("provider-id", "") == (node.provider_id if "cloud-provider" in found else "")
        # kubeadm writes them to a file that systemd splits into words.
        assert [
            value for value in found.values() if value.split() != [value] or set(value) & set("\"'\\$")
        ] == []


@some
@given(OPTIONS)
def test_the_container_runtimes_files(options: ClusterOptions) -> None:
    files = dict(container_runtime.configuration_files(options))
    configuration = tomllib.loads(files[container_runtime.CONFIG_FILE])
    assert configuration["imports"] == ["/etc/containerd/conf.d/*.toml"]
    plugins = configuration["plugins"]
    old = options.containerd_version.major == 1
    runtime = plugins["io.containerd.grpc.v1.cri" if old else "io.containerd.cri.v1.runtime"]
    assert runtime["restrict_oom_score_adj"] is options.containerd_restrict_oom_score_adj
    assert runtime["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is True
    mirrors = {registry: (f"{options.mirror}/v2/{registry}",) for registry in artifacts.REGISTRIES}
    wanted = (mirrors if options.mirror else {}) | {
        host: registry.mirrors for host, registry in options.registries.items()
    }
    images = {Path(path).parent.name: text for path, text in files.items() if path.endswith("/hosts.toml")}
    assert images.keys() == wanted.keys()
    for registry, text in images.items():
        document = tomllib.loads(text)
        assert document["server"].removeprefix("https://") in (registry, f"registry-1.{registry}")
        assert document["host"] == {
            url: {"capabilities": ["pull", "resolve"], "override_path": True} for url in wanted[registry]
        }


@some
@given(OPTIONS)
def test_apts_files(options: ClusterOptions) -> None:
    files = kube_packages.apt_files(options)
    source = files[kube_packages.SOURCES_FILE]
    minor = ".".join(options.release("kubernetes").split(".")[:2])
    upstream = f"pkgs.k8s.io/core:/stable:/v{minor}/deb/"
    address = f"{options.mirror}/{upstream}" if options.mirror else f"https://{upstream}"
    assert source.splitlines() == [f"deb [signed-by={kube_packages.KEYRING}] {address} /"]
    assert len(source.split()) == 4
    assert files[kube_packages.PREFERENCES_FILE].splitlines()[1:] == [
        f"Pin: version {options.kubernetes_version}-*",
        "Pin-Priority: 1001",
    ]


@some
@given(OPTIONS)
def test_every_download_is_below_the_mirror(options: ClusterOptions) -> None:
    for component in ("containerd", "runc", "cni_plugins"):
        file = container_runtime.verified_file(component=component, architecture="amd64", options=options)
        parts = urlsplit(file.url)
        assert (parts.query, parts.fragment, parts.username) == ("", "", None)
        assert parts.netloc == (urlsplit(options.mirror).netloc if options.mirror else "github.com")
        assert file.url.isascii() and file.url.split() == [file.url]
        assert len(file.sha256) == 64


@some
@given(OPTIONS, st.integers(576, 9000))
def test_calicos_kustomization(options: ClusterOptions, mtu: int) -> None:
    document = go_yaml.read(cni.kustomization(options=options, mtu=mtu))
    assert document["resources"] == [artifacts.calico_manifest(options.encapsulation)]
    (generator,) = document["configMapGenerator"]
    assert f"KUBERNETES_SERVICE_HOST={options.endpoint}" in generator["literals"]
    config, daemons = (go_yaml.read(patch["patch"]) for patch in document["patches"])
    assert config["data"]["veth_mtu"] == str(mtu)
    assert f'"https://{options.endpoint}:6443"' in config["data"]["cni_network_config"]
    (container,) = daemons["spec"]["template"]["spec"]["containers"]
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    assert variables["CALICO_IPV4POOL_CIDR"] == str(options.pod_subnet)
    assert variables.get("FELIX_FEATUREDETECTOVERRIDE") == (
        None if options.vxlan_checksum_offload else "ChecksumOffloadBroken=true"
    )
    assert [variables["CALICO_IPV4POOL_VXLAN"], variables["CALICO_IPV4POOL_IPIP"]] == [
        "Always" if options.encapsulation == "VXLAN" else "Never",
        "Always" if options.encapsulation == "IPIP" else "Never",
    ]


@some
@given(OPTIONS, LABELS, st.just("") | URLS, st.text("0123456789abcdef", min_size=64, max_size=64))
def test_hetzners_kustomization(
    options: ClusterOptions, location: str, endpoint: str, token_sha256: str
) -> None:
    cloud = HetznerCloud(network="net", location=location, endpoint=endpoint)
    text = cloud_controller.kustomization(options=options, cloud=cloud, token_sha256=token_sha256)
    document = go_yaml.read(text)
    assert [image["newTag"] for image in document["images"]] == [
        f"v{options.hcloud_cloud_controller_version}",
        f"v{options.hcloud_csi_version}",
    ]
    arguments, *workloads = (go_yaml.read(patch["patch"]) for patch in document["patches"])
    assert arguments[0]["value"] == f"--cluster-cidr={options.pod_subnet}"
    variables: dict[str, Any] = {}
    for workload in workloads:
        template = workload["spec"]["template"]
        assert isinstance(template["metadata"]["annotations"]["kubeadm-deploys/secret"], str)
        for container in template["spec"]["containers"]:
            variables |= {variable["name"]: variable["value"] for variable in container["env"]}
    assert [name for name, value in variables.items() if not isinstance(value, str)] == []
    assert variables["KUBERNETES_SERVICE_HOST"] == options.endpoint
    assert variables["HCLOUD_LOAD_BALANCERS_LOCATION"] == location
    assert variables["HCLOUD_VOLUME_DEFAULT_LOCATION"] == location
    assert variables["HCLOUD_VOLUME_EXTRA_LABELS"] == f"kubeadm-deploys/cluster={options.cluster_name}"
    assert variables.get("HCLOUD_ENDPOINT", "") == endpoint


@some
@given(clusters())
def test_the_local_proxys_configuration(cluster: tuple[ClusterOptions, Topology]) -> None:
    _, topology = cluster
    lines = [line.split() for line in local_proxy.configuration(topology).splitlines()]
    assert [words[1:] for words in lines if words[:1] == ["server"]] == [
        [node.name, f"{node.ip}:6443"] for node in sorted(topology.control_planes, key=lambda node: node.name)
    ]
    assert lines.count(["listen", "api-servers"]) == 1


@some
@given(OPTIONS)
def test_the_pool_of_load_balancer_addresses(options: ClusterOptions) -> None:
    pool = load_balancers.pool_spec(options.service_load_balancer_cidr)
    if not options.service_load_balancer_cidr:
        assert pool == {}
        return
    # Calico accepts these block sizes, and only networks with room for a whole block.
    assert pool["cidr"] == str(options.service_load_balancer_cidr)
    assert ipaddress.IPv4Network(pool["cidr"]).prefixlen <= pool["blockSize"]
    assert 20 <= pool["blockSize"] <= 32


@some
@given(clusters())
def test_names_and_name_servers_on_the_machines(cluster: tuple[ClusterOptions, Topology]) -> None:
    options, topology = cluster
    address = topology.control_planes[0].ip
    text = hosts_file.with_name("127.0.0.1 localhost\n", name=options.endpoint, address=address)
    assert text.splitlines() == ["127.0.0.1 localhost", f"{address} {options.endpoint}"]
    if options.nameservers:
        found = kubelet_dns.resolver_file(
            sources={}, nameservers=[str(server) for server in options.nameservers]
        )
        assert [line for line in found.splitlines() if not line.startswith("#")] == [
            f"nameserver {server}" for server in options.nameservers
        ]


ADMIN_CONF = """
clusters: [{name: kubernetes, cluster: {server: "https://api.internal:6443"}}]
users: [{name: kubernetes-admin, user: {client-key-data: a2V5}}]
"""


@some
@given(clusters())
def test_the_operators_kubeconfig(cluster: tuple[ClusterOptions, Topology]) -> None:
    options, topology = cluster
    address = options.kubeconfig_address or topology.control_planes[0].address
    text = operator_kubeconfig(
        ADMIN_CONF,
        cluster_name=options.cluster_name,
        server=server_url(address, port=6443),
        tls_server_name=options.endpoint,
    )
    document = go_yaml.read(text)
    assert document["current-context"] == options.cluster_name
    ((name, found),) = [(entry["name"], entry["cluster"]) for entry in document["clusters"]]
    assert name == options.cluster_name
    server = urlsplit(found["server"])
    assert (server.scheme, server.hostname, server.port) == ("https", address.lower(), 6443)
    assert found["tls-server-name"] == options.endpoint


@some
@given(clusters())
def test_the_report_of_a_failure(cluster: tuple[ClusterOptions, Topology]) -> None:
    options, topology = cluster
    text = failure_report.report(
        now=datetime(2026, 1, 1, tzinfo=UTC),
        deploy="cluster.py",
        versions={},
        options=options,
        topology=topology,
        failures=[failure_report.Failure(host="host-0", operation="Run containerd")],
        output=[],
        machines={},
    )
    # The text can be written as UTF-8.
    lines = text.encode().decode().splitlines()
    for option in ClusterOptions.model_fields:
        assert len([line for line in lines if line.startswith(f"{option} = ")]) == 1
    for node in topology.nodes:
        assert (
            len([line for line in lines if f" {node.name}: host {node.host}, node_ip {node.ip}" in line]) == 1
        )
