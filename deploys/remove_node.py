"""Remove a node from the cluster: drain it, remove its etcd member, delete it, and clean its machine.

Usage: pyinfra -y INVENTORY deploys/remove_node.py --data node=NAME [--data drain_timeout=300] [--data force=true]
       pyinfra -y INVENTORY deploys/remove_node.py --limit HOST
With force=true it also removes a node whose machine is lost. Afterwards remove the machine from the
inventory, or cluster.py joins it again.
"""

from pyinfra import host, inventory

from kubeadm_deploys import (
    acquire_run_lock,
    flag,
    host_data,
    options_from_data,
    remove_node,
    report_on_failure,
    seconds,
    summarize_run,
    topology_from_inventory,
)

data = host_data(host)
options = options_from_data(data, also=("node", "force", "drain_timeout"))
topology = topology_from_inventory(inventory, options=options)
force = flag("force", data.get("force", False))
report_on_failure(options=options, topology=topology)
acquire_run_lock(topology=topology, repairs_quorum=force)
remove_node(
    options=options,
    topology=topology,
    node=str(data.get("node", "")),
    force=force,
    drain_timeout=seconds("drain_timeout", data.get("drain_timeout", 300)),
)

summarize_run(next_step="remove the machine from the inventory, or the next run of cluster.py joins it again")
