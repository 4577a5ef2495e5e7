"""Create the servers of a cluster on Hetzner Cloud from a description file; existing ones are left alone.

Usage: HCLOUD_TOKEN=... pyinfra -y @local deploys/servers.py [--data description=FILE]
The description is inventories/group_data/hetzner.py unless FILE is given. With --dry instead of -y, it prints
the plan and its cost, and changes nothing.
"""

from pyinfra import logger

from kubeadm_deploys.hetzner.api.client import connect
from kubeadm_deploys.hetzner.api.interrupt import stopping_at_interrupt
from kubeadm_deploys.hetzner.servers.deploy import (
    description_file,
    make_servers,
    plan_servers,
    print_lines,
    run_api_calls,
)
from kubeadm_deploys.hetzner.servers.description_file import load_description
from kubeadm_deploys.hetzner.servers.plan_text import plan_lines

description, _ = load_description(description_file())
client = connect()
with stopping_at_interrupt():
    plan = plan_servers(client, description)

logger.info(f"--> Servers of cluster {description.cluster_name} in {description.location}:")
print_lines(plan_lines(plan))

run_api_calls(
    name=f"Create the servers of {description.cluster_name}",
    work=lambda: make_servers(client, plan),
    todo=bool(plan.steps),
)
