"""The pods and Services that the behaviour suites use.

Every node gets a client, a server, a guarded pod (the only one that NetworkPolicies select) and a pod on the
host network. All are created at once and deleted at the end, also after a failure or Ctrl-C. Pods that a
killed run left behind end by themselves and are deleted by the next run.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from kubeadm_deploys.verification.cluster import Cluster, condition, unready_pods
from kubeadm_deploys.verification.probes import Pod
from kubeadm_deploys.verification.waiting import SETTLING_TIME, eventually, watch

CLIENT = "client"
SERVER = "server"
GUARDED = "guarded"
HOST_NETWORK = "host"
ROLES = (CLIENT, SERVER, GUARDED, HOST_NETWORK)

ROLE_LABEL = "kubeadm-deploys.verification/role"
SERVICE_PORT = 80
SERVICE_UDP_PORT = 81

_OWNER = {"app.kubernetes.io/managed-by": "kubeadm-deploys-verification"}
_LONGEST_RUN = timedelta(minutes=15)
_READY_TIMEOUT = 120.0
_DELETION_TIMEOUT = 90.0
_POD_PORTS = (8080, 8081)
# For the host network, where the ports must be free on every machine and unused by a concurrent run;
# below the ranges of NodePorts and of outgoing connections.
_HOST_PORTS = range(20000, 30000, 2)


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """All test objects of one run. ``unready`` maps pods that never became ready to the reason."""

    cluster: Cluster
    namespace: str
    pods: Mapping[tuple[str, str], Pod]
    unready: Mapping[str, str]
    service_ip: str
    node_port: int

    @property
    def nodes(self) -> list[str]:
        """The nodes whose pods are all ready, in the API server's order."""
        unready_nodes = {pod.node for pod in self.pods.values() if pod.name in self.unready}
        return [node for node in self._all_nodes if node not in unready_nodes]

    def pod(self, role: str, node: str) -> Pod:
        """Return the pod of a role on a node; fail the test unless it is ready."""
        pod = self.pods[role, node]
        assert pod.name not in self.unready, f"pod to test with is not ready: {self.unready[pod.name]}"
        return pod

    def others(self, node: str) -> list[str]:
        """Return the other nodes; on a single-node cluster the node itself, so that it is tested too."""
        return [other for other in self.nodes if other != node] or [node]

    def neighbour(self, node: str) -> str:
        """Return the next node, so that each node is the neighbour of another."""
        position = self._all_nodes.index(node)
        following = self._all_nodes[position + 1 :] + self._all_nodes[:position]
        return next((other for other in following if other in self.nodes), node)

    @property
    def _all_nodes(self) -> list[str]:
        return list(dict.fromkeys(node for _, node in self.pods))


def new_namespace() -> str:
    """Return a name that no other run uses."""
    return f"verification-{secrets.token_hex(3)}"


def start_traffic(cluster: Cluster, *, namespace: str, image: str) -> Traffic:
    """Create the pods and Services, and wait for them; the caller must always call ``delete_traffic``."""
    _delete_stale_namespaces(cluster)
    nodes = cluster.items("nodes")
    cluster.create([namespace_object(namespace), service_account(namespace), *services(namespace)])
    cluster.create(pods(namespace, nodes=nodes, image=image))
    return _wait(cluster, namespace=namespace, nodes=nodes)


def discard_traffic(cluster: Cluster, *, namespace: str) -> None:
    """Start to delete what exists of the run, without waiting."""
    cluster.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")


def delete_traffic(cluster: Cluster, *, namespace: str) -> None:
    """Delete everything of the run; fail if something remains."""
    discard_traffic(cluster, namespace=namespace)
    eventually(
        lambda: cluster.kubectl("get", "namespace", namespace, "--ignore-not-found", "--output=name").text,
        problem=lambda left: left and f"namespace {namespace} of this run still exists; delete it",
        timeout=_DELETION_TIMEOUT,
    )


def namespace_object(name: str) -> dict[str, Any]:
    """Return the namespace, in which pods may use the host network."""
    labels = {**_OWNER, "pod-security.kubernetes.io/enforce": "privileged"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def service_account(namespace: str) -> dict[str, Any]:
    """Return the run's own account: pods are refused until the namespace's default one exists."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "traffic", "namespace": namespace},
        "automountServiceAccountToken": False,
    }


def services(namespace: str) -> list[dict[str, Any]]:
    """Return a ClusterIP, a NodePort and a headless Service of the servers."""
    return [
        service(namespace, name="servers"),
        service(namespace, name="node-port", type="NodePort"),
        service(namespace, name="peers", clusterIP="None"),
    ]


def service(namespace: str, *, name: str, **spec: str) -> dict[str, Any]:
    """Return a Service of the servers with a TCP and a UDP port."""
    http_port, udp_port = _POD_PORTS
    ports = [
        {"name": "http", "protocol": "TCP", "port": SERVICE_PORT, "targetPort": http_port},
        {"name": "udp", "protocol": "UDP", "port": SERVICE_UDP_PORT, "targetPort": udp_port},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {ROLE_LABEL: SERVER}, "ports": ports, **spec},
    }


def pods(namespace: str, *, nodes: Sequence[Mapping[str, Any]], image: str) -> list[dict[str, Any]]:
    """Return one pod per role and node, numbered because a node name may be too long for a pod name."""
    host_port = secrets.choice(_HOST_PORTS)
    ports = {role: (host_port, host_port + 1) if role == HOST_NETWORK else _POD_PORTS for role in ROLES}
    return [
        _pod(
            namespace,
            name=f"{role}-{number}",
            role=role,
            ports=ports[role],
            node=node["metadata"]["name"],
            image=image,
        )
        for number, node in enumerate(nodes)
        for role in ROLES
    ]


def _pod(
    namespace: str, *, name: str, role: str, ports: tuple[int, int], node: str, image: str
) -> dict[str, Any]:
    on_host = role == HOST_NETWORK
    http_port, udp_port = ports
    container = {
        "name": "agnhost",
        "image": image,
        "args": ["netexec", f"--http-port={http_port}", f"--udp-port={udp_port}"],
        "ports": [
            {"name": "http", "protocol": "TCP", "containerPort": http_port},
            {"name": "udp", "protocol": "UDP", "containerPort": udp_port},
        ],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": http_port}, "periodSeconds": 1},
    }
    spec = {
        "containers": [container],
        "serviceAccountName": "traffic",
        "affinity": {"nodeAffinity": _only_on(node)},
        "tolerations": [{"operator": "Exists"}],
        "hostNetwork": on_host,
        "dnsPolicy": "ClusterFirstWithHostNet" if on_host else "ClusterFirst",
        "terminationGracePeriodSeconds": 1,
        # A killed run cannot delete its pods, so they end by themselves.
        "activeDeadlineSeconds": int(_LONGEST_RUN.total_seconds()),
        **({"hostname": name, "subdomain": "peers"} if role == SERVER else {}),
    }
    metadata = {"name": name, "namespace": namespace, "labels": {ROLE_LABEL: role}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _only_on(node: str) -> dict[str, Any]:
    # Like a DaemonSet's pods: through the scheduler, which is tested too, and by the node's name, because the
    # hostname label can differ.
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    return {"requiredDuringSchedulingIgnoredDuringExecution": terms}


def _wait(cluster: Cluster, *, namespace: str, nodes: Sequence[Mapping[str, Any]]) -> Traffic:
    """Wait for the pods, except those of nodes that are not ready; tests that need one of these fail."""
    in_namespace = f"--namespace={namespace}"
    names = [node["metadata"]["name"] for node in nodes]
    down = {node["metadata"]["name"] for node in nodes if condition(node, "Ready") != "True"}
    made = watch(
        lambda: cluster.items("pods", in_namespace),
        until=lambda seen: not unready_pods(pod for pod in seen if _place(pod, names)[1] not in down),
        timeout=_READY_TIMEOUT,
    )
    specs = {found["metadata"]["name"]: found["spec"] for found in cluster.items("services", in_namespace)}
    return Traffic(
        cluster=cluster,
        namespace=namespace,
        pods={_place(pod, names): _made_pod(pod, node=_place(pod, names)[1]) for pod in made},
        unready={pod["metadata"]["name"]: problem for pod in made for problem in unready_pods([pod])},
        service_ip=specs["servers"]["clusterIP"],
        node_port=next(port["nodePort"] for port in specs["node-port"]["ports"] if port["name"] == "http"),
    )


def _place(pod: Mapping[str, Any], nodes: Sequence[str]) -> tuple[str, str]:
    """Return the role and the intended node of a pod, read from its name."""
    role, _, number = pod["metadata"]["name"].rpartition("-")
    return role, nodes[int(number)]


def _made_pod(pod: Mapping[str, Any], *, node: str) -> Pod:
    (container,) = pod["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    return Pod(
        namespace=pod["metadata"]["namespace"],
        name=pod["metadata"]["name"],
        node=node,
        ip=pod["status"].get("podIP", ""),
        http_port=ports["http"],
        udp_port=ports["udp"],
        settled_by=time.monotonic() + SETTLING_TIME,
    )


def _delete_stale_namespaces(cluster: Cluster) -> None:
    """Delete what a killed run left; a younger namespace may belong to a concurrent run."""
    selector = ",".join(f"{key}={value}" for key, value in _OWNER.items())
    for namespace in cluster.items("namespaces", f"--selector={selector}"):
        created = datetime.fromisoformat(namespace["metadata"]["creationTimestamp"])
        if datetime.now(UTC) - created > _LONGEST_RUN:
            name = namespace["metadata"]["name"]
            _ = cluster.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false").text
