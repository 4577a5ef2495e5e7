"""The final state of a cluster, which must be complete and the same for both rivals."""

import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.processes import BenchError
from tests.lab.docker import docker
from tests.lab.hosts import Host

_SETTLING = 60
"""Seconds for pods to become Ready after a rival has finished."""

_KUBECTL = ("kubectl", "--kubeconfig=/etc/kubernetes/admin.conf")

# One line per fact; the output is the same on all correct nodes.
_NODE_SCRIPT = r"""
kubelet --version; kubeadm version --output short; containerd --version; runc --version | head -n 1
/opt/cni/bin/bridge 2>&1 | head -n 1
containerd config dump | grep -E 'SystemdCgroup|restrict_oom_score_adj|config_path|sandbox =' | sort
apt-mark showhold; systemctl is-enabled containerd kubelet
dpkg-query --show --showformat '${Package} ${Version}\n' kubelet kubeadm kubectl conntrack ethtool iptables socat
cat /etc/modules-load.d/k8s.conf; sort /etc/sysctl.d/k8s.conf; sysctl net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables
grep -E 'cgroupDriver|failSwapOn|clusterD|serializeImagePulls' /var/lib/kubelet/config.yaml
"""


@dataclass(frozen=True)
class FinalState:
    """The state that must be the same for both rivals, without names and addresses."""

    nodes: Counter[str]
    """Each node's programs, packages and settings, as `_NODE_SCRIPT` prints them."""
    pods: Counter[str]
    """Images of the pods in kube-system."""
    network: str
    """Calico's pools and the pod MTU."""


def settled(hosts: list[Host], *, kubeconfig: Path) -> tuple[FinalState, float]:
    """Wait until the cluster is complete; return its state and the seconds until its pods were Ready.

    Raises:
        BenchError: the cluster is not complete in time.
    """
    started = time.monotonic()
    while problems := [*_nodes_problems(hosts), *_pods_problems(hosts)]:
        if time.monotonic() - started > _SETTLING:
            raise BenchError(f"the cluster is not complete after {_SETTLING} s: {'; '.join(problems)}")
        time.sleep(0.2)
    seconds = time.monotonic() - started
    if kubeconfig.stat().st_mode & 0o777 != 0o600 or hosts[0].address not in kubeconfig.read_text():
        raise BenchError(f"{kubeconfig} does not have mode 0600 or does not contain {hosts[0].address}")
    return _state(hosts), seconds


def _state(hosts: list[Host]) -> FinalState:
    pods = _get(hosts, "pods")
    images = (container["image"] for pod in pods for container in pod["spec"]["containers"])
    pools = _get(hosts, "ippools.crd.projectcalico.org")
    (config,) = [item for item in _get(hosts, "configmaps") if item["metadata"]["name"] == "calico-config"]
    return FinalState(
        nodes=Counter(docker("exec", host.name, "sh", "-c", _NODE_SCRIPT) for host in hosts),
        pods=Counter(images),
        network=json.dumps([*(pool["spec"] for pool in pools), config["data"]["veth_mtu"]], sort_keys=True),
    )


def _nodes_problems(hosts: list[Host]) -> list[str]:
    ready = {node["metadata"]["name"] for node in _get(hosts, "nodes") if _is_ready(node)}
    return [f"node {host.name} is not Ready" for host in hosts if host.name not in ready]


def _pods_problems(hosts: list[Host]) -> list[str]:
    # A pod that is moved to another node keeps terminating for a while.
    pods = [pod for pod in _get(hosts, "pods") if "deletionTimestamp" not in pod["metadata"]]
    problems = [f"pod {pod['metadata']['name']} is not Ready" for pod in pods if not _is_ready(pod)]
    dns_nodes = {
        pod["spec"].get("nodeName") for pod in pods if pod["metadata"]["labels"].get("k8s-app") == "kube-dns"
    }
    if len(dns_nodes) < min(2, len(hosts)):
        problems.append("all DNS pods are on one node")
    return problems


def _is_ready(item: dict[str, Any]) -> bool:
    conditions = item["status"].get("conditions", [])
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)


def _get(hosts: list[Host], kind: str) -> list[dict[str, Any]]:
    output = docker("exec", hosts[0].name, *_KUBECTL, "--namespace=kube-system", "get", kind, "--output=json")
    return list(json.loads(output)["items"])
