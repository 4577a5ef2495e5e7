"""Images that every node of a role needs, pulled while the node is still being prepared.

Without this, each node begins to pull its network and kube-proxy only when it has joined, one after the
other with everything that waits for them.
"""

from pyinfra import host
from pyinfra.api import deploy

from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations import images
from kubeadm_deploys.options import ClusterOptions


def node_images(*, options: ClusterOptions, control_plane: bool) -> list[str]:
    """The images whose names follow from the options; kubeadm and the kubelet pull the rest when they need it."""
    programs = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] if control_plane else []
    wanted = [
        *(
            f"registry.k8s.io/{program}:v{options.kubernetes_version}"
            for program in (*programs, "kube-proxy")
        ),
        *(f"quay.io/calico/{program}:v{options.calico_version}" for program in ("cni", "node")),
    ]
    if control_plane and options.cloud_provider == "hetzner":
        # Until it has seen a node, nothing runs there but the network's pods.
        wanted.append(
            "docker.io/hetznercloud/hcloud-cloud-controller-manager:"
            f"v{options.hcloud_cloud_controller_version}"
        )
    return wanted


@deploy("Images")
def start_pulling_images(*, options: ClusterOptions, topology: Topology) -> None:
    """Start to pull the images that are missing, and do not wait for them."""
    control_plane = any(node.host == host.name for node in topology.control_planes)
    images.pulling(
        name="Start to pull the images", images=node_images(options=options, control_plane=control_plane)
    )
