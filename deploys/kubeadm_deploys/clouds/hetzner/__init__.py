"""Hetzner Cloud: its cloud controller manager and its CSI driver."""

from kubeadm_deploys.clouds.cloud import Cloud
from kubeadm_deploys.clouds.hetzner import controller, place
from kubeadm_deploys.model.nodes import Node
from kubeadm_deploys.model.options import ClusterOptions


def _images(options: ClusterOptions) -> tuple[str, ...]:
    # Until the cloud controller has initialized a node, only network pods run there.
    image = "docker.io/hetznercloud/hcloud-cloud-controller-manager"
    return (f"{image}:v{options.hcloud_cloud_controller_version}",)


def _reattach(*, options: ClusterOptions, node: Node) -> str:
    network = f"{node.name} --network {options.cluster_name}"
    return (
        f"reboot it with 'hcloud server reboot {node.name}', or reattach it with "
        f"'hcloud server detach-from-network {network}' and "
        f"'hcloud server attach-to-network {network} --ip {node.ip}'"
    )


CLOUD = Cloud(
    place=place.place_from_data,
    install=controller.install_cloud_controller,
    upgrade_commands=controller.upgrade_commands,
    upgraded_commands=controller.upgraded_commands,
    folder=controller.FOLDER,
    images=_images,
    workloads=controller.WORKLOADS,
    reading=controller.READING,
    cluster_readings=controller.CLUSTER_READINGS,
    paths=(controller.FOLDER,),
    # The cloud controller finds a node's server by this name.
    names_are_host_names=True,
    reattach=_reattach,
)
