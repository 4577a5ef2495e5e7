"""Report the status of a cluster: nodes, control planes, certificates, differences from the options.

Usage: pyinfra -y INVENTORY deploys/status.py [--data output=json]
It changes nothing. It exits with 1 if something needs attention, like a node that is not Ready or a certificate
that expires soon. With output=json, standard output is one JSON document.
"""

from pyinfra import host, inventory

from kubeadm_deploys import (
    guard_connections,
    host_data,
    options_from_data,
    report_status,
    topology_from_inventory,
)

data = host_data(host)
options = options_from_data(data, also=("output",))
topology = topology_from_inventory(inventory, options=options)
guard_connections(host.state)
report_status(options=options, topology=topology, output=data.get("output", "table"))
