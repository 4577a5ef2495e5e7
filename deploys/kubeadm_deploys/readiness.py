"""The end of the main job: wait for what was asked, and hand the cluster to its operator."""

from pyinfra import host
from pyinfra.api import deploy

from kubeadm_deploys.hetzner import cloud_controller
from kubeadm_deploys.kubeadm_documents import API_PORT
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations import kubeconfig, kubectl
from kubeadm_deploys.options import ClusterOptions

WORKLOADS = (
    "daemonset/calico-node",
    "daemonset/kube-proxy",
    "deployment/calico-kube-controllers",
    "deployment/coredns",
)
"""What pods need of kube-system: network, Services, names."""


def workloads(options: ClusterOptions) -> list[str]:
    """All of kube-system that a cluster needs, the controllers of its cloud too."""
    of_cloud = {"none": (), "hetzner": cloud_controller.WORKLOADS}
    return [*WORKLOADS, *of_cloud[options.cloud_provider]]


@deploy("Readiness")
def wait_until_ready(*, options: ClusterOptions, topology: Topology) -> None:
    """Wait until every node is Ready and known to its cloud, and network, Services and DNS are there on all."""
    kubectl.cluster_ready(
        name="Wait for nodes, network and DNS",
        topology=topology,
        workloads=workloads(options),
        timeout=options.ready_timeout,
    )


@deploy("Kubeconfig")
def fetch_kubeconfig(*, options: ClusterOptions, topology: Topology) -> None:
    """Write the administrator's kubeconfig on the operator's machine, mode 0600."""
    if topology.node(host.name) in topology.control_planes:
        kubeconfig.fetched(
            name=f"Write {options.kubeconfig_path}",
            topology=topology,
            path=options.kubeconfig_path,
            cluster_name=options.cluster_name,
            address=options.kubeconfig_address,
            port=API_PORT,
            tls_server_name=options.endpoint,
        )
