"""Machines as before the cluster: no pods, no network, no data and no keys of it; cluster.py runs on them again.

Usage: pyinfra -y INVENTORY deploys/reset.py --data confirm=CLUSTER_NAME [--limit HOST] [--data force=true]
Without the confirmation it changes nothing. Part of a cluster that goes on is for remove_node.py.
"""

from pyinfra import host, inventory

from kubeadm_deploys.entry import flag, host_data, options_from_data, topology_from_inventory
from kubeadm_deploys.locking import one_run_at_a_time
from kubeadm_deploys.reporting import report_failure
from kubeadm_deploys.reset import refuse_unconfirmed, reset_machine

data = host_data(host)
options = options_from_data(data, also=("confirm", "force"))
topology = topology_from_inventory(inventory, options=options)
refuse_unconfirmed(options=options, confirmation=data.get("confirm"))
force = flag("force", data.get("force", False))
report_failure(options=options, topology=topology)
# A cluster that has lost its majority for good can be given up, too.
one_run_at_a_time(topology=topology, repairs_quorum=force)
reset_machine(options=options, topology=topology, force=force)
