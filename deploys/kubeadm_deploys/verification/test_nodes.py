"""Every machine is a ready node with its own name and address, and its kubelet works."""

import json
import re
import tomllib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from cryptography import x509

from kubeadm_deploys.verification.cluster import Cluster, condition, node_address
from kubeadm_deploys.verification.inventory import CONTROL_PLANE, Machine
from kubeadm_deploys.verification.options import Selection
from kubeadm_deploys.verification.remote import Answers, ask

COMMANDS = {
    "kubelet": "systemctl show kubelet.service --property=ActiveState,UnitFileState,NeedDaemonReload",
    "kubelet version": "kubelet --version",
    "kubelet configuration": "cat /var/lib/kubelet/config.yaml",
    # The file also holds the private key, which must not leave the machine.
    "kubelet certificate": (
        "sed -n '/BEGIN CERTIFICATE/,/END CERTIFICATE/p' /var/lib/kubelet/pki/kubelet-client-current.pem"
    ),
    "containerd configuration": "containerd config dump",
    # systemd's hierarchy: the only one with cgroup v2, "name=systemd" with v1.
    "pod cgroups": (
        "grep --no-filename --extended-regexp '^(0:|[0-9]+:name=systemd):.*(kubepods|cri-containerd)' "
        "/proc/[0-9]*/cgroup | sort --unique"
    ),
    "images of kubeadm": (
        "kubeadm config images list --kubernetes-version $(kubeadm version --output=short)"
    ),
}

_IN_SLICE = re.compile(r"/kubepods\.slice/.*\.slice/cri-containerd-[0-9a-f]{64}\.scope$")

_LOOPBACK = "127.0.0.1"
SHORTEST_VALIDITY = timedelta(days=30)


def test_node_is_ready(node: Any) -> None:
    assert condition(node, "Ready") == "True", node["status"]["conditions"]


@pytest.mark.parametrize("pressure", ["MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"])
def test_node_has_no_problem_condition(node: Any, pressure: str) -> None:
    assert condition(node, pressure) in ("False", "missing"), node["status"]["conditions"]


def test_node_has_the_configured_address(node: Any, machine: Machine) -> None:
    if "node_ip" not in machine.data:
        pytest.skip("node_ip is not set in the inventory")
    assert node_address(node) == machine.data["node_ip"]


def test_node_is_known_to_its_cloud(node: Any, machine: Machine) -> None:
    if machine.data.get("cloud_provider", "none") == "none" or "provider_id" not in machine.data:
        pytest.skip("cloud_provider or provider_id is not set in the inventory")
    assert node["spec"].get("providerID") == machine.data["provider_id"]


def test_endpoint_leads_to_the_api_server_of_this_node(
    node: Any, machine: Machine, nodes: dict[str, Any], selection: Selection, kubeadm_configuration: Any
) -> None:
    """A control plane that uses another's API server fails with it; many load balancers drop such traffic."""
    endpoint = kubeadm_configuration["controlPlaneEndpoint"].rpartition(":")[0]
    lookups = {"hosts": f"getent --service=files ahostsv4 {endpoint}", "all": f"getent ahostsv4 {endpoint}"}
    answers = ask(machine, lookups)
    if answers["hosts"].status != 0:
        pytest.skip(
            f"NOT CHECKED: {machine.name} resolves {endpoint} by DNS, and only hosts files are checked"
        )
    found = {line.split()[0] for line in answers["all"].lines}
    if CONTROL_PLANE in machine.groups:
        wanted = {node_address(node)}
    elif found == {_LOOPBACK}:
        # The worker runs a local proxy; test_workers checks that API servers answer behind it.
        wanted = found
    elif address := machine.data.get("api_load_balancer_address"):
        wanted = {address}
    else:
        wanted = found & {node_address(nodes[other.node_name]) for other in selection.control_planes}
    assert found == wanted


def test_node_runs_the_installed_kubelet(node: Any, answers: Answers) -> None:
    assert answers["kubelet version"].text == f"Kubernetes {node['status']['nodeInfo']['kubeletVersion']}"


def test_node_uses_containerd(node: Any) -> None:
    assert node["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://")


def test_kubelet_is_running_and_enabled(answers: Answers) -> None:
    unit = dict(line.split("=", 1) for line in answers["kubelet"].lines)
    assert unit == {"ActiveState": "active", "UnitFileState": "enabled", "NeedDaemonReload": "no"}


def test_kubelet_is_configured_for_systemd_cgroups(answers: Answers) -> None:
    assert _kubelet_configuration(answers)["cgroupDriver"] == "systemd"


def test_running_kubelet_uses_systemd_cgroups(cluster: Cluster, machine: Machine) -> None:
    answer = cluster.kubectl("get", f"--raw=/api/v1/nodes/{machine.node_name}/proxy/configz")
    assert json.loads(answer.text)["kubeletconfig"]["cgroupDriver"] == "systemd"


def test_pods_live_in_systemd_slices(answers: Answers) -> None:
    """Checks what kubelet, containerd and runc really use: another cgroup driver creates plain folders."""
    paths = [line.rpartition(":")[2] for line in answers["pod cgroups"].lines]
    assert paths, "no pod process is running"
    assert not [path for path in paths if not _IN_SLICE.search(path)]


def test_kubelet_tolerates_swap_that_is_kept(answers: Answers, machine: Machine) -> None:
    if machine.data.get("swap") != "keep":
        pytest.skip(f"swap is not 'keep' on {machine.name}; test_swap checks that it is off")
    assert _kubelet_configuration(answers)["failSwapOn"] is False


def test_sandbox_image_is_that_of_kubeadm(answers: Answers) -> None:
    """test_container_runtime checks that the daemon uses the configuration on disk."""
    images = [image for image in answers["images of kubeadm"].lines if "/pause:" in image]
    assert _sandbox_images(tomllib.loads(answers["containerd configuration"].text)) == images


def test_kubelet_certificate_is_valid_for_long(answers: Answers) -> None:
    certificates = x509.load_pem_x509_certificates(answers["kubelet certificate"].text.encode())
    assert certificates[0].not_valid_after_utc - datetime.now(UTC) > SHORTEST_VALIDITY


def _sandbox_images(configuration: dict[str, Any]) -> list[str]:
    """Return the sandbox image from the key of containerd 2, else from that of containerd 1."""
    plugins = configuration["plugins"].values()
    pinned = [plugin["pinned_images"]["sandbox"] for plugin in plugins if "pinned_images" in plugin]
    return pinned or [plugin["sandbox_image"] for plugin in plugins if "sandbox_image" in plugin]


def _kubelet_configuration(answers: Answers) -> Any:
    return yaml.safe_load(answers["kubelet configuration"].text)
