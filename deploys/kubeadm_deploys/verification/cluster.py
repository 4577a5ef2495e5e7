"""The cluster as its API server tells it, through kubectl on a control plane host.

Nothing is needed on the operator's machine: neither kubectl nor a way to the API server.
"""

import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml

from kubeadm_deploys.verification.inventory import Machine
from kubeadm_deploys.verification.remote import PARALLEL_COMMANDS, Answer, ask
from kubeadm_deploys.verification.waiting import SETTLING_TIME, watch

KUBECONFIG = "/etc/kubernetes/admin.conf"

_REQUEST_TIMEOUT = "30s"
_OBJECTS_A_COMMAND = 40
"""An argument of a command has at most 128 KiB, and manifests travel as one."""

Given = TypeVar("Given")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A control plane host on which kubectl runs as the cluster's administrator."""

    machine: Machine

    def kubectl(self, *arguments: str) -> Answer:
        """Run kubectl."""
        return self._shell(_kubectl(arguments))

    def get(self, *arguments: str) -> Any:
        """Read what ``kubectl get`` gives as JSON."""
        return json.loads(self.kubectl("get", *arguments, "--output=json").text)

    def items(self, *arguments: str) -> list[Any]:
        """Read the objects of a kind."""
        items: list[Any] = self.get(*arguments)["items"]
        return items

    def create(self, objects: Sequence[Mapping[str, Any]]) -> None:
        """Create objects, in their order."""
        for start in range(0, len(objects), _OBJECTS_A_COMMAND):
            batch = {
                "apiVersion": "v1",
                "kind": "List",
                "items": list(objects[start : start + _OBJECTS_A_COMMAND]),
            }
            manifest = shlex.quote(json.dumps(batch, separators=(",", ":")))
            _ = self._shell(f"printf %s {manifest} | {_kubectl(['create', '--filename=-'])}").text

    def _shell(self, command: str) -> Answer:
        return ask(self.machine, {"kubectl": command})["kubectl"]


def find_cluster(control_planes: Sequence[Machine]) -> Cluster:
    """Choose the first control plane host whose API server is ready: one may be down, or busy for a moment."""
    found, refusals = watch(
        lambda: _first_ready(control_planes), until=lambda seen: seen[0] is not None, timeout=SETTLING_TIME
    )
    assert found, "no control plane host reaches a ready API server: " + "; ".join(refusals)
    return found


def _first_ready(control_planes: Sequence[Machine]) -> tuple[Cluster | None, list[str]]:
    refusals = []
    for machine in control_planes:
        cluster = Cluster(machine=machine)
        try:
            _ = cluster.kubectl("get", "--raw=/readyz").text
        except AssertionError as refusal:
            refusals.append(f"{machine.name}: {refusal}")
        else:
            return cluster, refusals
    return None, refusals


def in_parallel(work: Callable[[Given], Result], given: Iterable[Given]) -> list[Result]:
    """Do the same remote work for many things, no more at once than one SSH connection takes."""
    with ThreadPoolExecutor(max_workers=PARALLEL_COMMANDS) as pool:
        return list(pool.map(work, given))


def condition(thing: Mapping[str, Any], kind: str) -> str:
    """Read the status of a condition of an object: True, False, Unknown, or missing."""
    conditions = thing.get("status", {}).get("conditions", [])
    return next((str(each["status"]) for each in conditions if each["type"] == kind), "missing")


def unready_pods(pods: Iterable[Mapping[str, Any]]) -> list[str]:
    """Name every pod that is not ready, with what its containers wait for; a finished one need not be."""
    return [
        f"{pod['metadata']['name']} on {pod['spec'].get('nodeName', 'no node')}: {_waits_for(pod)}"
        for pod in pods
        if condition(pod, "Ready") != "True" and pod["status"].get("phase") != "Succeeded"
    ]


def cluster_configuration(cluster: Cluster) -> Any:
    """Read the ClusterConfiguration that kubeadm keeps in the cluster."""
    document = cluster.get("configmap", "kubeadm-config", "--namespace=kube-system")
    return yaml.safe_load(document["data"]["ClusterConfiguration"])


def node_address(node: Mapping[str, Any]) -> str:
    """Read a node's InternalIP."""
    addresses = node["status"].get("addresses", [])
    return next((str(each["address"]) for each in addresses if each["type"] == "InternalIP"), "")


def _waits_for(pod: Mapping[str, Any]) -> str:
    status = pod["status"]
    states = [
        state.get("message") or state.get("reason") or kind
        for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
        for kind, state in container.get("state", {}).items()
        if not container.get("ready")
    ]
    scheduling = [
        each["message"]
        for each in status.get("conditions", [])
        if each["status"] != "True" and "message" in each
    ]
    return f"{status.get('phase')} ({'; '.join(dict.fromkeys(states + scheduling))})"


def _kubectl(arguments: Sequence[str]) -> str:
    command = ["kubectl", f"--kubeconfig={KUBECONFIG}", f"--request-timeout={_REQUEST_TIMEOUT}", *arguments]
    return shlex.join(command)
