"""Delete the servers of a cluster on Hetzner Cloud, and what else there is known to belong to it.

Usage: HCLOUD_TOKEN=... pyinfra -y @local deploys/destroy_servers.py --data confirm=CLUSTER_NAME \
           [--data description=FILE]
Without the confirmation it only lists what it would delete, detach and keep.
"""

from pyinfra import host, logger

from kubeadm_deploys.entry import host_data
from kubeadm_deploys.hetzner.client import connect
from kubeadm_deploys.hetzner.description_file import load_description
from kubeadm_deploys.hetzner.destroy import (
    delete_cluster,
    read_doomed,
    refuse_protected,
    refuse_unconfirmed,
)
from kubeadm_deploys.hetzner.interrupt import stopping_at_interrupt
from kubeadm_deploys.hetzner.names import state_folder
from kubeadm_deploys.hetzner.servers import description_file, do, tell

description, _ = load_description(description_file(), needs_key=False)
client = connect()
with stopping_at_interrupt():
    doomed = read_doomed(client, cluster_name=description.cluster_name)

logger.info(f"--> Deletion of cluster {description.cluster_name}:")
tell(doomed.plan)
refuse_unconfirmed(doomed, confirmation=host_data(host).get("confirm"))
refuse_protected(doomed)

do(
    name=f"Delete the servers of {description.cluster_name}",
    work=lambda: delete_cluster(client, doomed),
    todo=bool(doomed.lines) or state_folder(description.cluster_name).exists(),
)
