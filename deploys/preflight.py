"""Check whether the machines of the inventory can form the cluster, or already do; print every finding with its fix.

Usage: pyinfra -y INVENTORY deploys/preflight.py [--data OPTION=VALUE ...]
It changes nothing. It exits with 1 if cluster.py, which runs the same checks first, would refuse to start.
"""

from pyinfra import host, inventory

from kubeadm_deploys import (
    guard_connections,
    host_data,
    options_from_data,
    run_preflight,
    topology_from_inventory,
)

options = options_from_data(host_data(host))
topology = topology_from_inventory(inventory, options=options)
guard_connections(host.state)
run_preflight(options=options, topology=topology)
