"""The servers of a cluster on Hetzner Cloud, as a description file says; what is there already is left alone.

Usage: HCLOUD_TOKEN=... pyinfra -y @local deploys/servers.py [--data description=FILE]
The description is inventories/group_data/hetzner.py unless FILE is given. With --dry instead of -y, the
plan and its cost are printed and nothing is written.
"""

from pyinfra import logger

from kubeadm_deploys.hetzner.client import connect
from kubeadm_deploys.hetzner.description_file import load_description
from kubeadm_deploys.hetzner.interrupt import stopping_at_interrupt
from kubeadm_deploys.hetzner.plan_text import plan_lines
from kubeadm_deploys.hetzner.servers import description_file, do, make_servers, plan_servers, tell

description, _ = load_description(description_file())
client = connect()
with stopping_at_interrupt():
    plan = plan_servers(client, description)

logger.info(f"--> Servers of cluster {description.cluster_name} in {description.location}:")
tell(plan_lines(plan))

do(
    name=f"Make the servers of {description.cluster_name}",
    work=lambda: make_servers(client, plan),
    todo=bool(plan.steps),
)
