"""Every worker uses the endpoint's name and holds no files of the control plane."""

from typing import Any

import yaml

from kubeadm_deploys.verification.inventory import WORKERS
from kubeadm_deploys.verification.remote import Answers

GROUP = WORKERS

COMMANDS = {
    # The file holds no private key: that is in a separate file.
    "kubelet.conf": "cat /etc/kubernetes/kubelet.conf",
    "kubelet.conf mode": "stat --format='%a %U' /etc/kubernetes/kubelet.conf",
    "ready": "kubectl --kubeconfig=/etc/kubernetes/kubelet.conf get --raw=/readyz",
    "bootstrap": "test ! -e /etc/kubernetes/bootstrap-kubelet.conf",
    "control plane files": (
        "find /etc/kubernetes/manifests /etc/kubernetes/admin.conf /etc/kubernetes/super-admin.conf "
        "/etc/kubernetes/pki -name '*.yaml' -o -name '*.key' -o -name '*admin.conf' 2>/dev/null; true"
    ),
}


def test_node_is_not_a_control_plane(node: Any) -> None:
    assert "node-role.kubernetes.io/control-plane" not in node["metadata"]["labels"]


def test_kubelet_uses_the_endpoint(answers: Answers, kubeadm_configuration: Any) -> None:
    """With the address of one control plane, the worker would fail with it."""
    kubeconfig = yaml.safe_load(answers["kubelet.conf"].text)
    servers = [entry["cluster"]["server"] for entry in kubeconfig["clusters"]]
    assert servers == [f"https://{kubeadm_configuration['controlPlaneEndpoint']}"]


def test_kubelet_reaches_the_api_server(answers: Answers) -> None:
    """Through the control plane, load balancer or proxy behind the endpoint's name on this host."""
    assert answers["ready"].text == "ok"


def test_kubeconfig_is_only_for_root(answers: Answers) -> None:
    assert answers["kubelet.conf mode"].text == "600 root"


def test_join_credentials_are_removed(answers: Answers) -> None:
    assert answers["bootstrap"].status == 0, "/etc/kubernetes/bootstrap-kubelet.conf still exists"


def test_host_has_no_control_plane_files(answers: Answers) -> None:
    assert not answers["control plane files"].lines
