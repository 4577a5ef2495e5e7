"""What a machine has to download: which servers are tried, and how they are named."""

from kubeadm_deploys.facts.downloads import Probe
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.preflight.check import with_own_options
from kubeadm_deploys.preflight.download_checks import urls_to_try
from tests.support.preflight_machines import (
    W1,
    findings,
)


def test_the_host_that_the_last_request_went_to_is_named() -> None:
    file, image, gone = "https://github.com/x", "https://quay.io/v2/x/manifests/1", "https://pkgs.k8s.io/x"
    probes = {
        file: Probe(status=0, answer=403, url="https://release.example/x"),
        image: Probe(status=28, message="curl: (28) Connection timed out", url="https://cdn.example/x"),
        gone: Probe(status=6, message="curl: (6) Could not resolve", url="https://prod.example/x"),
    }
    assert [finding.found for finding in findings({W1: {"probes": probes}})] == [
        "cannot resolve prod.example for pkgs.k8s.io",
        "github.com answers 403 (from release.example)",
        "cannot reach cdn.example for quay.io (Connection timed out)",
    ]


def test_each_server_is_tried_once_and_with_a_mirror_only_that() -> None:
    worker = urls_to_try(options=ClusterOptions(), control_plane=False)
    assert worker == (
        "https://github.com/containerd/containerd/releases/download/v2.3.4/containerd-2.3.4-linux-amd64.tar.gz",
        "https://pkgs.k8s.io/core:/stable:/v1.37/deb/InRelease",
        "https://registry.k8s.io/v2/pause/manifests/3.10.2",
        "https://quay.io/v2/calico/cni/manifests/v3.31.0",
    )
    control_plane = urls_to_try(options=ClusterOptions(cloud_provider="hetzner"), control_plane=True)
    assert set(control_plane) - set(worker) == {
        "https://raw.githubusercontent.com/projectcalico/calico/v3.31.0/manifests/calico-vxlan.yaml",
        "https://registry-1.docker.io/v2/hetznercloud/hcloud-cloud-controller-manager/manifests/v1.35.0",
    }
    mirror = "http://10.0.0.9:8080"
    assert urls_to_try(options=ClusterOptions(mirror=mirror), control_plane=True) == (mirror,)


def test_each_machine_is_checked_with_its_own_options() -> None:
    first = ClusterOptions(http_proxy="http://a:1", no_proxy="x", cluster_name="demo")
    data = {"a": {"http_proxy": "http://a:1", "no_proxy": "x"}, "b": {"https_proxy": "http://b:1"}, "c": {}}
    own = {host: with_own_options(first, data=data, host=host) for host in data}
    assert {host: (each.http_proxy, each.https_proxy, each.no_proxy) for host, each in own.items()} == {
        "a": ("http://a:1", "", ("x",)),
        "b": ("", "http://b:1", ()),
        "c": ("", "", ()),
    }
    assert own["b"].cluster_name == "demo"
    # A project that sets no data has made the options itself.
    assert with_own_options(first, data={"a": {}}, host="a") is first


def test_a_registry_is_tried_only_without_mirrors_of_the_machine() -> None:
    mirrors = {"quay.io": {"mirrors": ["https://m.example.com"]}}
    data = {"a": {"registries": mirrors}, "b": {}}
    first = ClusterOptions(registries=mirrors)
    tried = {
        host: [
            url
            for url in urls_to_try(options=with_own_options(first, data=data, host=host), control_plane=False)
            if "quay.io" in url
        ]
        for host in data
    }
    assert tried == {"a": [], "b": ["https://quay.io/v2/calico/cni/manifests/v3.31.0"]}
