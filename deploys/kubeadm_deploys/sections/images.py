"""Pull the images that every node of a role needs while the node is still being prepared.

Without this, each node starts to pull its network and kube-proxy only after it has joined, and everything
else waits for them.
"""

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import FactBase, deploy, operation
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.clouds import cloud_of
from kubeadm_deploys.cni import cni_of
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations.failure import fails_clearly
from kubeadm_deploys.remote.reading import read
from kubeadm_deploys.scripts import script


class Images(FactBase[frozenset[str]]):
    """Read the names of the images that containerd has for Kubernetes; none if it does not run."""

    @override
    def command(self) -> StringCommand:
        return script("read-images")

    @override
    def process(self, output: list[str]) -> frozenset[str]:
        return frozenset(line.strip() for line in output)


_UNIT = "kubeadm-deploys-pull"


@operation()
@fails_clearly
def pulling(*, images: list[str]) -> Generator[StringCommand, None, None]:
    """Start to pull missing images, without waiting for them.

    A failed pull does no harm: the kubelet pulls again and reports why it cannot.

    + images: full names with tag
    """
    # Not read while the deploy is prepared: containerd may not run yet then, and no image would be found.
    present = read(host, Images)
    missing = [image for image in images if image not in present]
    if not missing:
        host.noop("all images are present")
        return
    yield script("pull-images", _UNIT, *missing)


def node_images(*, options: ClusterOptions, control_plane: bool) -> list[str]:
    """Return the images whose names follow from the options; the rest are pulled when they are needed."""
    programs = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] if control_plane else []
    wanted = [
        *(
            f"registry.k8s.io/{program}:v{options.kubernetes_version}"
            for program in (*programs, "kube-proxy")
        ),
        *cni_of(options).images(options),
    ]
    return [*wanted, *(cloud_of(options).images(options) if control_plane else ())]


@deploy("Images")
def start_pulling_images(*, options: ClusterOptions, topology: Topology) -> None:
    """Start to pull missing images, without waiting for them."""
    control_plane = any(node.host == host.name for node in topology.control_planes)
    pulling(name="Start pulling the images", images=node_images(options=options, control_plane=control_plane))
