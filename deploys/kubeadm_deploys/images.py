"""Images that every node of a role needs, pulled while the node is still being prepared.

Without this, each node begins to pull its network and kube-proxy only when it has joined, one after the
other with everything that waits for them.
"""

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.operations import server

from kubeadm_deploys.facts.images import Images
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.options import ClusterOptions

_UNIT = "kubeadm-deploys-pull"


def node_images(*, options: ClusterOptions, control_plane: bool) -> list[str]:
    """The images whose names follow from the options; kubeadm and the kubelet pull the rest when they need it."""
    programs = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] if control_plane else []
    return [
        *(
            f"registry.k8s.io/{program}:v{options.kubernetes_version}"
            for program in (*programs, "kube-proxy")
        ),
        *(f"quay.io/calico/{program}:v{options.calico_version}" for program in ("cni", "node")),
    ]


@deploy("Images")
def start_pulling_images(*, options: ClusterOptions, topology: Topology) -> None:
    """Start to pull the images that are missing, and do not wait for them.

    A pull that fails does no harm: the kubelet pulls again and reports why it cannot.
    """
    control_plane = any(node.host == host.name for node in topology.control_planes)
    found = host.get_fact(Images)
    missing = [
        image for image in node_images(options=options, control_plane=control_plane) if image not in found
    ]
    if missing:
        pulls = " & ".join(
            f"/usr/local/bin/ctr --namespace k8s.io images pull --hosts-dir /etc/containerd/certs.d {image}"
            for image in missing
        )
        server.shell(
            name="Start to pull the images",
            # A unit of an earlier run that still pulls is as good as a new one.
            commands=[
                f"systemctl is-active --quiet {_UNIT} || "
                f"systemd-run --quiet --collect --unit={_UNIT} sh -c '{pulls} & wait'"
            ],
        )
