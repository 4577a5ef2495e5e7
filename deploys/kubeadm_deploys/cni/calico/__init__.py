"""Calico: pod addresses, routes and NetworkPolicy, and addresses for Services of type LoadBalancer."""

from kubeadm_deploys.cni.calico import addresses, network
from kubeadm_deploys.cni.contract import Cni
from kubeadm_deploys.model import artifacts
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.remote.answers import Reading


def _images(options: ClusterOptions) -> tuple[str, ...]:
    return tuple(f"quay.io/calico/{program}:v{options.calico_version}" for program in ("cni", "node"))


_PORTS = {"VXLAN": ("4789/udp",), "IPIP": ("IP protocol 4", "179/tcp"), "None": ("179/tcp",)}


def _manifest(options: ClusterOptions) -> str:
    return artifacts.calico_manifest(options.encapsulation)


def _ports(options: ClusterOptions) -> tuple[str, ...]:
    return _PORTS[options.encapsulation]


CALICO = Cni(
    install=network.install_cni,
    configure_pool=addresses.configure_load_balancer_pool,
    images=_images,
    workloads=("daemonset/calico-node", "deployment/calico-kube-controllers"),
    reading=network.reading,
    cluster_readings=(network.CLUSTER_READING, Reading(addresses.LoadBalancerAddresses)),
    folder=network.FOLDER,
    upgrade_commands=network.upgrade_commands,
    paths=(network.FOLDER,),
    devices=("cali", "vxlan.calico", "wireguard.cali", "tunl0"),
    component="calico",
    configuration="10-calico.conflist",
    gateway_route=True,
    manifest=_manifest,
    ports=_ports,
)
