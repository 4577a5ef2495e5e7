"""Delete the servers of a cluster on Hetzner Cloud, and everything else that is known to belong to it.

Usage: HCLOUD_TOKEN=... pyinfra -y @local deploys/destroy_servers.py --data confirm=CLUSTER_NAME \
           [--data description=FILE]
Without confirm it only lists what it would delete, detach and keep.
"""

from pyinfra import host, logger

from kubeadm_deploys.hetzner.api.client import connect
from kubeadm_deploys.hetzner.api.interrupt import stopping_at_interrupt
from kubeadm_deploys.hetzner.api.names import state_folder
from kubeadm_deploys.hetzner.servers.deploy import description_file, print_lines, run_api_calls
from kubeadm_deploys.hetzner.servers.description_file import load_description
from kubeadm_deploys.hetzner.servers.destroy import (
    delete_cluster,
    read_deletion_plan,
    refuse_protected,
    refuse_unconfirmed,
)
from kubeadm_deploys.inventory.data import host_data

description, _ = load_description(description_file(), needs_key=False)
client = connect()
with stopping_at_interrupt():
    deletion = read_deletion_plan(client, cluster_name=description.cluster_name)

logger.info(f"--> Deletion of cluster {description.cluster_name}:")
print_lines(deletion.plan)
refuse_unconfirmed(deletion, confirmation=host_data(host).get("confirm"))
refuse_protected(deletion)

run_api_calls(
    name=f"Delete the servers of {description.cluster_name}",
    work=lambda: delete_cluster(client, deletion),
    todo=bool(deletion.lines) or state_folder(description.cluster_name).exists(),
)
