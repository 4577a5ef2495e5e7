"""Guide section "Installing a Pod network add-on": one folder for each CNI, described by a ``Cni``.

To add a CNI, add a folder here, a line in ``CNIS``, and a value of the option ``cni`` with the CNI's own
options.
"""

from kubeadm_deploys.cni.calico import CALICO
from kubeadm_deploys.cni.contract import Cni
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.model.options import ClusterOptions

CNIS: dict[str, Cni] = {"calico": CALICO, "none": Cni()}


def cni_of(options: ClusterOptions) -> Cni:
    """Return the CNI that the options name."""
    return CNIS[options.cni]


def install_cni(*, options: ClusterOptions, topology: Topology) -> None:
    """Install the pod network.

    Raises:
        DeployError: it cannot be installed on this host.
    """
    if install := cni_of(options).install:
        install(options=options, topology=topology)


def configure_load_balancer_pool(*, options: ClusterOptions, topology: Topology) -> None:
    """Have the CNI give Services of type LoadBalancer addresses of the cluster's range, if there is one.

    Call it after ``wait_until_ready``: Calico creates the pods' own pool only if it finds no pool at all when
    its first node pod starts.
    """
    if configure := cni_of(options).configure_pool:
        configure(options=options, topology=topology)
