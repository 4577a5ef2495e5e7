"""A node leaves the cluster: drained, taken out of etcd, deleted, and its machine as before the cluster.

Usage: pyinfra -y INVENTORY deploys/remove_node.py --data node=NAME [--data drain_timeout=300] [--data force=true]
       pyinfra -y INVENTORY deploys/remove_node.py --limit HOST
With force=true also a node whose machine is lost. Afterwards take the machine out of the inventory, or cluster.py joins
it again.
"""

from pyinfra import host, inventory

from kubeadm_deploys.entry import flag, host_data, options_from_data, seconds, topology_from_inventory
from kubeadm_deploys.locking import one_run_at_a_time
from kubeadm_deploys.removal import remove_node
from kubeadm_deploys.reporting import report_failure

data = host_data(host)
options = options_from_data(data, also=("node", "force", "drain_timeout"))
topology = topology_from_inventory(inventory, options=options)
force = flag("force", data.get("force", False))
report_failure(options=options, topology=topology)
one_run_at_a_time(topology=topology, repairs_quorum=force)
remove_node(
    options=options,
    topology=topology,
    node=str(data.get("node", "")),
    force=force,
    drain_timeout=seconds("drain_timeout", data.get("drain_timeout", 300)),
)
