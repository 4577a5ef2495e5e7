"""Whether the inventory's machines can become the cluster, or are it: every finding on every machine, with its cure.

Usage: pyinfra -y INVENTORY deploys/preflight.py [--data OPTION=VALUE ...]
It changes nothing, and exits with 1 when cluster.py would refuse to begin, which makes the same checks first.
"""

from pyinfra import host, inventory

from kubeadm_deploys import check_machines
from kubeadm_deploys.connections import guard_connections
from kubeadm_deploys.entry import host_data, options_from_data, topology_from_inventory

options = options_from_data(host_data(host))
topology = topology_from_inventory(inventory, options=options)
guard_connections(host.state)
check_machines(options=options, topology=topology)
