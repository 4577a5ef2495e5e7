"""The cluster as its API server reports it, through kubectl on a control plane host.

The operator's machine needs neither kubectl nor network access to the API server.
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
_OBJECTS_PER_COMMAND = 40
"""Manifests are sent as one command argument, which Linux limits to 128 KiB."""

Given = TypeVar("Given")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A control plane host on which kubectl runs as cluster administrator."""

    machine: Machine

    def kubectl(self, *arguments: str) -> Answer:
        """Run kubectl."""
        return self._shell(_kubectl(arguments))

    def get(self, *arguments: str) -> Any:
        """Return the output of ``kubectl get`` as parsed JSON."""
        return json.loads(self.kubectl("get", *arguments, "--output=json").text)

    def items(self, *arguments: str) -> list[Any]:
        """Return the items of a list that ``kubectl get`` returns."""
        items: list[Any] = self.get(*arguments)["items"]
        return items

    def create(self, objects: Sequence[Mapping[str, Any]]) -> None:
        """Create objects in the given order."""
        for start in range(0, len(objects), _OBJECTS_PER_COMMAND):
            batch = {
                "apiVersion": "v1",
                "kind": "List",
                "items": list(objects[start : start + _OBJECTS_PER_COMMAND]),
            }
            manifest = shlex.quote(json.dumps(batch, separators=(",", ":")))
            _ = self._shell(f"printf %s {manifest} | {_kubectl(['create', '--filename=-'])}").text

    def _shell(self, command: str) -> Answer:
        return ask(self.machine, {"kubectl": command})["kubectl"]


def find_cluster(control_planes: Sequence[Machine]) -> Cluster:
    """Return the first control plane host whose API server is ready: one may be down or briefly busy."""
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
    """Run ``work`` on each item in parallel, limited to the sessions of one SSH connection."""
    with ThreadPoolExecutor(max_workers=PARALLEL_COMMANDS) as pool:
        return list(pool.map(work, given))


def condition(thing: Mapping[str, Any], kind: str) -> str:
    """Return the status of an object's condition: True, False, Unknown, or missing."""
    conditions = thing.get("status", {}).get("conditions", [])
    return next((str(entry["status"]) for entry in conditions if entry["type"] == kind), "missing")


def unready_pods(pods: Iterable[Mapping[str, Any]]) -> list[str]:
    """List every pod that is neither ready nor finished, with what its containers are waiting for."""
    return [
        f"{pod['metadata']['name']} on {pod['spec'].get('nodeName', 'no node')}: {_waits_for(pod)}"
        for pod in pods
        if condition(pod, "Ready") != "True" and pod["status"].get("phase") != "Succeeded"
    ]


def cluster_configuration(cluster: Cluster) -> Any:
    """Return the ClusterConfiguration that kubeadm stores in the cluster."""
    document = cluster.get("configmap", "kubeadm-config", "--namespace=kube-system")
    return yaml.safe_load(document["data"]["ClusterConfiguration"])


def node_address(node: Mapping[str, Any]) -> str:
    """Return a node's InternalIP, or an empty string."""
    addresses = node["status"].get("addresses", [])
    return next((str(entry["address"]) for entry in addresses if entry["type"] == "InternalIP"), "")


def _waits_for(pod: Mapping[str, Any]) -> str:
    status = pod["status"]
    states = [
        state.get("message") or state.get("reason") or kind
        for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
        for kind, state in container.get("state", {}).items()
        if not container.get("ready")
    ]
    scheduling = [
        entry["message"]
        for entry in status.get("conditions", [])
        if entry["status"] != "True" and "message" in entry
    ]
    return f"{status.get('phase')} ({'; '.join(dict.fromkeys(states + scheduling))})"


def _kubectl(arguments: Sequence[str]) -> str:
    command = ["kubectl", f"--kubeconfig={KUBECONFIG}", f"--request-timeout={_REQUEST_TIMEOUT}", *arguments]
    return shlex.join(command)
