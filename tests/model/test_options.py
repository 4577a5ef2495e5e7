"""ClusterOptions: working defaults, and wrong values that are reported with their fix."""

import copy
import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from kubeadm_deploys.inventory.data import options_from_data
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.options import ClusterOptions

OLD_CONTAINERD = (
    "https://github.com/containerd/containerd/releases/download/v1.6.9/containerd-1.6.9-linux-amd64.tar.gz"
)


OLD_CALICO = "https://raw.githubusercontent.com/projectcalico/calico/v3.29.0/manifests/calico-vxlan.yaml"


def problems_of(**fields: Any) -> tuple[str, ...]:
    with pytest.raises(InputError) as error:
        ClusterOptions(**fields)
    return error.value.problems


def endless() -> dict[str, Any]:
    document: dict[str, Any] = {}
    document["a"] = [document]
    return document


def test_defaults_are_a_working_configuration() -> None:
    options = ClusterOptions()
    assert options.kubernetes_minor == "1.37"
    assert options.endpoint == "api.kubernetes.internal"
    assert options.max_nodes == 256
    assert options.kubeconfig_path == "kubernetes.kubeconfig"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kubernetes_version": "latest"}, ["kubernetes_version", "'latest'", "not a version", "1.37.2"]),
        ({"kubernetes_version": 1.36}, ["kubernetes_version", "1.36", "not a version"]),
        ({"kubernetes_version": "1.٣6.3"}, ["kubernetes_version", "not a version"]),
        ({"kubernetes_version": "01.36.3"}, ["kubernetes_version", "'01.36.3'", "not a version"]),
        ({"hcloud_cloud_controller_version": f"{'9' * 5000}.0.0"}, ["hcloud_cloud_", "not a version"]),
        ({"kubernetes_version": "1.30.0"}, ["kubernetes_version", "1.30.0", "not supported", "1.31"]),
        (
            {"containerd_version": "1.6.9", "checksums": {OLD_CONTAINERD: "0" * 64}},
            ["containerd_version", "1.6.9", "1.7 or newer"],
        ),
        ({"containerd_version": "1.6.0"}, ["containerd_version", "'1.6.0'", "1.7 or newer"]),
        (
            {"containerd_version": "1.7.34", "kubernetes_version": "1.37.0"},
            ["containerd_version", "1.7.34", "too old for Kubernetes 1.37.0", "2.3 or newer"],
        ),
        (
            {"containerd_version": "2.3.99"},
            ["containerd_version", "2.3.99", "no known checksum", "checksums"],
        ),
        ({"runc_version": "9.9.9"}, ["runc_version", "9.9.9", "no known checksum"]),
        ({"cni_plugins_version": "1.4.0"}, ["cni_plugins_version", "1.4.0", "no known checksum"]),
        ({"calico_version": "3.0.0"}, ["calico_version", "3.0.0", "no known checksum"]),
        ({"pod_mtu": 1400, "cni": "none"}, ["pod_mtu", "an option of calico", "cni is none"]),
        ({"cni": "cilium"}, ["cni", "'cilium'", "choose calico or none"]),
        ({"pod_subnet": "10.244.0.0"}, ["pod_subnet", "'10.244.0.0'", "not an IPv4 network"]),
        ({"pod_subnet": "10.244.0.1/16"}, ["pod_subnet", "host bits set"]),
        ({"pod_subnet": "fd00::/48"}, ["pod_subnet", "not an IPv4 network"]),
        ({"pod_subnet": "10.244.0.0/25"}, ["pod_subnet", "too small", "/16"]),
        ({"pod_subnet": "12.0.0.0/7"}, ["pod_subnet", "too big", "/8", "/16"]),
        ({"pod_subnet": "127.0.0.0/8"}, ["pod_subnet", "127.0.0.0/8", "not routable"]),
        ({"service_subnet": "10.96.0.0/29"}, ["service_subnet", "too small", "/12"]),
        ({"service_subnet": "10.0.0.0/8", "pod_subnet": "192.168.0.0/16"}, ["service_subnet", "too big"]),
        ({"service_subnet": "10.244.0.0/20"}, ["service_subnet", "overlaps pod_subnet", "disjoint"]),
        ({"cluster_name": "My Cluster"}, ["cluster_name", "'My Cluster'", "lower-case"]),
        ({"control_plane_endpoint": "10.0.0.1"}, ["control_plane_endpoint", "IP address", "use a name"]),
        ({"dns_domain": "-x"}, ["dns_domain", "'-x'", "DNS name"]),
        ({"certificate_sans": 7}, ["certificate_sans", "7", "not a list"]),
        ({"certificate_sans": "a.example.com,"}, ["certificate_sans", "'a.example.com,'", "DNS name"]),
        ({"certificate_sans": "a.example.com;b"}, ["certificate_sans", "DNS name"]),
        ({"certificate_sans": ["exa mple"]}, ["certificate_sans", "DNS name"]),
        ({"certificate_sans": ["fe80::1%eth0"]}, ["certificate_sans", "'fe80::1%eth0'", "DNS name"]),
        ({"encapsulation": "GRE"}, ["encapsulation", "'GRE'", "VXLAN or IPIP or None"]),
        ({"swap": None}, ["swap", "None", "off or keep"]),
        ({"pod_mtu": 100}, ["pod_mtu", "100", "576"]),
        ({"pod_mtu": True}, ["pod_mtu", "True", "not an MTU"]),
        ({"swap": "on"}, ["swap", "'on'", "off or keep"]),
        ({"mirror": "10.0.0.9"}, ["mirror", "'10.0.0.9'", "http://10.0.0.9:8080"]),
        *(
            ({"mirror": mirror}, ["mirror", repr(mirror), "http://10.0.0.9:8080"])
            for mirror in (
                *(
                    'http://a"b',
                    "http://a/b c",
                    "http://a/\nb",
                    "http://[::1",
                    "http://a:99999",
                    "http://a#b",
                ),
                "HTTP://a",
            )
        ),
        ({"checksums": {"https://x": "abc"}}, ["checksums", "https://x", "64 hexadecimal"]),
        ({"checksums": {5: "0" * 64}}, ["checksums", "has 5", "https://"]),
        ({"checksums": 5}, ["checksums", "5", "name a sha256sum file"]),
        ({"kubernetes_apt_key_fingerprint": "DE15"}, ["kubernetes_apt_key_fingerprint", "40 hexadecimal"]),
        ({"kubelet_configuration": "maxPods"}, ["kubelet_configuration", "not a mapping"]),
        (
            {"kubelet_configuration": {"rotateCertificates": False}},
            ["kubelet_configuration", "rotateCertificates", "leave it out"],
        ),
        ({"kubelet_configuration": {"kind": "Pod"}}, ["kubelet_configuration", "has kind", "leave it out"]),
        ({"kubelet_configuration": {"a": [{1: 2}]}}, ["kubelet_configuration", "has 1", "keys are text"]),
        ({"kubelet_configuration": {"maxPods": 2**64}}, ["kubelet_configuration", f"has {2**64}", "64 bits"]),
        ({"kubelet_configuration": {"a": float("nan")}}, ["kubelet_configuration", "has nan"]),
        ({"kubelet_configuration": {"a": b"b"}}, ["kubelet_configuration", "has b'b'"]),
        ({"kubelet_configuration": {"a": "\ud800"}}, ["kubelet_configuration", r"has '\ud800'", "Unicode"]),
        ({"kubelet_configuration": endless()}, ["kubelet_configuration", "nested too deep"]),
        ({"ignore_preflight_errors": ["all"]}, ["ignore_preflight_errors", "one kubeadm preflight check"]),
        ({"skip_preflight_checks": ["all"]}, ["skip_preflight_checks", "'all'", "one by one"]),
        (
            {"skip_preflight_checks": ["clocks"]},
            ["skip_preflight_checks", "'clocks'", "not a check", "clock, hostname"],
        ),
        (
            {"skip_preflight_checks": ["another-cluster"]},
            ["skip_preflight_checks", "'another-cluster'", "cannot be skipped"],
        ),
        (
            {"skip_preflight_checks": [["clock"]]},
            ["skip_preflight_checks", "has ['clock']", "not a check", "clock, hostname"],
        ),
        ({"skip_preflight_checks": "clock, all"}, ["skip_preflight_checks", "'clock, all'", "one by one"]),
        (
            {"containerd_restrict_oom_score_adj": "yes"},
            ["containerd_restrict_oom_score_adj", "true or false"],
        ),
        ({"ready_timeout": 0}, ["ready_timeout", "0", "1 to 3600"]),
        ({"kubeconfig": "folder/"}, ["kubeconfig", "'folder/'", "path of a file"]),
        ({"kubeconfig": "~"}, ["kubeconfig", "'~'", "path of a folder"]),
        ({"kubeconfig": "~no-such-user/a"}, ["kubeconfig", "'~no-such-user/a'", "user that does not exist"]),
        ({"kubeconfig": "."}, ["kubeconfig", "'.'", "path of a folder"]),
        ({"kubeconfig": "a\nb"}, ["kubeconfig", r"'a\nb'", "path of a file"]),
        ({"kubeconfig": "é" * 200}, ["kubeconfig", "too long"]),
        ({"pod_mtu": 10**5000}, ["pod_mtu", "<int too big to show>", "not an MTU"]),
        ({"swap": [10**5000]}, ["swap", "<list too big to show>", "off or keep"]),
        ({"cloud_init_timeout": 0}, ["cloud_init_timeout", "0", "1 to 3600"]),
        ({"http_proxy": "10.0.0.9:3128"}, ["http_proxy", "'10.0.0.9:3128'", "http://10.0.0.9:3128"]),
        ({"https_proxy": "http://10.0.0.9"}, ["https_proxy", "'http://10.0.0.9'", "http://10.0.0.9:3128"]),
        ({"https_proxy": "socks5://10.0.0.9:1080"}, ["https_proxy", "not the URL of a proxy"]),
        ({"no_proxy": ["a", "b:80"]}, ["no_proxy", "has 'b:80'", "without a port"]),
        ({"no_proxy": "10.0.0.1/8"}, ["no_proxy", "'10.0.0.1/8'", "10.0.0.0/8"]),
        ({"nameservers": {}}, ["nameservers", "{}", "not a list", "9.9.9.9"]),
        ({"nameservers": "9.9.9.9,9.9"}, ["nameservers", "'9.9'", "not an IPv4 address"]),
        ({"nameservers": "1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1"}, ["nameservers", "more than three"]),
        ({"nameservers": ["127.0.0.53"]}, ["nameservers", "'127.0.0.53'", "the pod itself"]),
        ({"nameservers": ["2620:fe::fe"]}, ["nameservers", "'2620:fe::fe'", "not an IPv4 address"]),
        ({"nameservers": ["9.9.9.9"] * 4}, ["nameservers", "more than three", "at most three"]),
        ({"cloud_provider": "aws"}, ["cloud_provider", "'aws'", "none or hetzner"]),
        (
            {"hcloud_cloud_controller_version": "latest"},
            ["hcloud_cloud_controller_version", "'latest'", "not a version"],
        ),
        ({"hcloud_csi_version": "2"}, ["hcloud_csi_version", "'2'", "not a version"]),
        ({"api_load_balancer_address": "lb"}, ["api_load_balancer_address", "'lb'", "not an IPv4 address"]),
        (
            {"service_load_balancer_cidr": "10.0.9.0"},
            ["service_load_balancer_cidr", "'10.0.9.0'", "not an IPv4 network"],
        ),
        (
            {"service_load_balancer_cidr": "10.244.9.0/24"},
            ["service_load_balancer_cidr", "overlaps pod_subnet"],
        ),
        (
            {"service_load_balancer_cidr": "10.96.9.0/24"},
            ["service_load_balancer_cidr", "overlaps service_subnet"],
        ),
        (
            {"service_load_balancer_cidr": "10.0.9.0/24", "cloud_provider": "hetzner"},
            ["service_load_balancer_cidr", "cloud_provider hetzner", "leave one of the two out"],
        ),
        (
            {
                "service_load_balancer_cidr": "10.0.9.0/24",
                "calico_version": "3.29.0",
                "checksums": {OLD_CALICO: "0" * 64},
            },
            ["service_load_balancer_cidr", "Calico 3.30 or newer"],
        ),
    ],
)
def test_the_problem_of_a_wrong_value_names_field_value_and_fix(
    fields: dict[str, Any], words: list[str]
) -> None:
    (problem,) = problems_of(**fields)
    assert problem.startswith(f"{next(iter(fields))}: ")
    assert [word for word in words if word not in problem] == []


def test_all_wrong_fields_are_reported_at_once() -> None:
    problems = problems_of(kubernetes_version="x", pod_subnet="y", swap="z")
    assert [problem.partition(":")[0] for problem in problems] == ["kubernetes_version", "pod_subnet", "swap"]


def test_problems_from_different_checks_are_reported_together() -> None:
    sizes = {"pod_subnet": "10.244.0.0/25", "service_subnet": "10.96.0.0/29"}
    releases = {"kubernetes_version": "1.30.0", "hcloud_cloud_controller_version": "1.25.1"}
    assert len(problems_of(**sizes, **releases, swap="maybe")) == 5


def test_an_unknown_release_is_accepted_with_a_checksum_from_the_user() -> None:
    url = (
        "https://github.com/containernetworking/plugins/releases/download/v1.4.0/"
        "cni-plugins-linux-amd64-v1.4.0.tgz"
    )
    options = ClusterOptions(cni_plugins_version="1.4.0", checksums={url: "0" * 64})
    assert options.release("cni_plugins") == "1.4.0"


def test_a_long_value_is_cut_in_the_message() -> None:
    (problem,) = problems_of(cluster_name="x" * 10_000)
    assert len(problem) < 400


def test_every_preflight_check_of_kubeadm_can_be_ignored() -> None:
    names = ("FileContent--proc-sys-net-ipv4-ip_forward", "FileAvailable--etc-kubernetes-kubelet.conf")
    assert ClusterOptions(ignore_preflight_errors=names).ignore_preflight_errors == names


def test_values_are_normalized() -> None:
    options = ClusterOptions(
        kubernetes_version="v1.35.4",
        mirror="http://10.0.0.9:8080/",
        kubernetes_apt_key_fingerprint="de15 b144 86cd 377b 9e87 6e1a 2346 54da 9a29 6436",
        certificate_sans=("203.0.113.7", "k8s.example.com"),
    )
    assert options.release("kubernetes") == "1.35.4"
    assert options.mirror == "http://10.0.0.9:8080"
    assert options.kubernetes_apt_key_fingerprint == "DE15B14486CD377B9E876E1A234654DA9A296436"
    assert options.certificate_sans == ("203.0.113.7", "k8s.example.com")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("api.example.com", ("api.example.com",)),
        ("api.example.com,203.0.113.7", ("api.example.com", "203.0.113.7")),
        (" api.example.com , fd00::1 ", ("api.example.com", "fd00::1")),
        ("", ()),
    ],
)
def test_comma_separated_text_is_a_list(text: str, found: tuple[str, ...]) -> None:
    assert ClusterOptions(certificate_sans=text).certificate_sans == found


def test_every_list_option_accepts_comma_separated_text() -> None:
    values = {
        "ignore_preflight_errors": "Swap",
        "skip_preflight_checks": "clock",
        "nameservers": "9.9.9.9, 1.1.1.1",
        "no_proxy": "Registry.example.com, *.example.com, 10.0.0.0/8",
    }
    options = ClusterOptions(**values)
    assert options.ignore_preflight_errors == ("Swap",)
    assert options.skip_preflight_checks == ("clock",)
    assert [str(server) for server in options.nameservers] == ["9.9.9.9", "1.1.1.1"]
    assert options.no_proxy == ("registry.example.com", ".example.com", "10.0.0.0/8")


@pytest.mark.parametrize(
    "value",
    [
        "http://bob:hunter2@10.0.0.9",
        "bob:hunter2@10.0.0.9:3128",
        "http://bob:hunter2:x@y@10.0.0.9:3128",
        "http://bob:x'hunter2@10.0.0.9:3128",
        ["bob:hunter2@a"],
    ],
)
@pytest.mark.parametrize("option", ["http_proxy", "https_proxy", "mirror", "no_proxy"])
def test_a_password_in_a_wrong_url_is_not_shown(option: str, value: object) -> None:
    with pytest.raises(InputError) as error:
        ClusterOptions(**{option: value})
    assert "hunter2" not in str(error.value)
    assert f"{option}: " in str(error.value) and "<redacted>@" in str(error.value)


def test_pythons_none_is_the_word_none() -> None:
    assert ClusterOptions(encapsulation=None).encapsulation == "None"


def test_options_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ClusterOptions().swap = "keep"


def test_given_contains_options_that_are_set_to_their_default() -> None:
    options = ClusterOptions(kubernetes_version=ClusterOptions().kubernetes_version, swap="keep")
    assert options.given == {"kubernetes_version", "swap"}
    assert ClusterOptions().given == frozenset()
    assert options_from_data({"node_name": "cp-1", "runc_version": "1.4.3"}).given == {"runc_version"}


def test_given_does_not_affect_equality_or_repr() -> None:
    written = ClusterOptions(kubernetes_version=ClusterOptions().kubernetes_version)
    assert written == ClusterOptions()
    assert repr(written) == repr(ClusterOptions())
    assert "given" not in ClusterOptions.model_fields


def test_copies_keep_given() -> None:
    options = ClusterOptions(runc_version="1.4.3")
    assert copy.deepcopy(options).given == pickle.loads(pickle.dumps(options)).given == {"runc_version"}


def test_following_a_cluster_again_keeps_what_was_followed_before() -> None:
    options = ClusterOptions(swap="keep", cni="none")
    once = options.following({"containerd_version": "2.3.99"})
    again = once.following({"runc_version": "1.4.2"})
    assert (again.release("containerd"), again.release("runc"), again.swap) == ("2.3.99", "1.4.2", "keep")
    assert again.following({}) == again
    assert again.given == {"swap", "cni"}


def test_following_a_cluster_keeps_the_users_options() -> None:
    options = ClusterOptions(pod_subnet="10.32.0.0/16", swap="keep")
    followed = options.following({"containerd_version": "2.3.99", "kubernetes_version": "1.35.4"})
    assert (followed.release("containerd"), followed.release("kubernetes")) == ("2.3.99", "1.35.4")
    assert (str(followed.pod_subnet), followed.swap) == ("10.32.0.0/16", "keep")
    assert followed.given == options.given
    assert options.containerd_version == ClusterOptions().containerd_version
    with pytest.raises(InputError, match="is not supported; choose a release"):
        options.following({"kubernetes_version": "1.30.1"})
