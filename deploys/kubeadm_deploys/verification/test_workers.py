"""Every worker has joined by the endpoint's name and holds nothing of the control plane."""

from typing import Any

import yaml

from kubeadm_deploys.verification.inventory import WORKERS
from kubeadm_deploys.verification.remote import Answers

GROUP = WORKERS

COMMANDS = {
    # The certificate beside the address is public; the key is in a file of its own.
    "kubelet.conf": "cat /etc/kubernetes/kubelet.conf",
    "kubelet.conf mode": "stat --format='%a %U' /etc/kubernetes/kubelet.conf",
    "ready": "kubectl --kubeconfig=/etc/kubernetes/kubelet.conf get --raw=/readyz",
    "bootstrap": "test ! -e /etc/kubernetes/bootstrap-kubelet.conf",
    "control plane files": (
        "find /etc/kubernetes/manifests /etc/kubernetes/admin.conf /etc/kubernetes/super-admin.conf "
        "/etc/kubernetes/pki -name '*.yaml' -o -name '*.key' -o -name '*admin.conf' 2>/dev/null; true"
    ),
}


def test_node_is_no_control_plane(node: Any) -> None:
    assert "node-role.kubernetes.io/control-plane" not in node["metadata"]["labels"]


def test_kubelet_reaches_the_api_server_by_the_endpoint(answers: Answers, kubeadm_configuration: Any) -> None:
    """By an address, the loss of that one control plane would be the worker's too."""
    kubeconfig = yaml.safe_load(answers["kubelet.conf"].text)
    servers = [each["cluster"]["server"] for each in kubeconfig["clusters"]]
    assert servers == [f"https://{kubeadm_configuration['controlPlaneEndpoint']}"]


def test_the_kubelets_way_to_the_api_works(answers: Answers) -> None:
    """Through whatever stands behind the endpoint's name here: a control plane, a load balancer or a proxy."""
    assert answers["ready"].text == "ok"


def test_kubeconfig_is_only_for_root(answers: Answers) -> None:
    assert answers["kubelet.conf mode"].text == "600 root"


def test_join_credentials_are_gone(answers: Answers) -> None:
    assert answers["bootstrap"].status == 0, "/etc/kubernetes/bootstrap-kubelet.conf is left"


def test_nothing_of_the_control_plane_is_here(answers: Answers) -> None:
    assert not answers["control plane files"].lines
