"""Remove all cluster state from machines: pods, network, data and keys. cluster.py can use them again.

Usage: pyinfra -y INVENTORY deploys/reset.py --data confirm=CLUSTER_NAME [--limit HOST] [--data force=true]
Without confirm it changes nothing. To remove a node from a cluster that stays, use remove_node.py.
"""

from pyinfra import host, inventory

from kubeadm_deploys import (
    acquire_run_lock,
    flag,
    host_data,
    options_from_data,
    refuse_unconfirmed,
    report_on_failure,
    reset_machine,
    summarize_run,
    topology_from_inventory,
)

data = host_data(host)
options = options_from_data(data, also=("confirm", "force"))
topology = topology_from_inventory(inventory, options=options)
refuse_unconfirmed(options=options, confirmation=data.get("confirm"))
force = flag("force", data.get("force", False))
report_on_failure(options=options, topology=topology)
# With force, a cluster that has lost its etcd majority for good can be reset too.
acquire_run_lock(topology=topology, repairs_quorum=force)
reset_machine(options=options, topology=topology, force=force)

summarize_run(next_step="run deploys/cluster.py to create a new cluster on these machines")
