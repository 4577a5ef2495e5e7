"""Your machines, by group and by the name of their node.

pyinfra --dry inventories/machines.py deploys/cluster.py     # what a run would do
pyinfra -y inventories/machines.py deploys/cluster.py        # do it; run it again after a failure or a change
"""

# ssh_hostname is where you reach the machine: with SSH, and a control plane also with kubectl. node_ip is the
# address at which the nodes reach each other; leave it out if ssh_hostname is that address. Use one control
# plane, or three to survive the loss of one.
control_plane = [
    ("control-plane-1", {"ssh_hostname": "203.0.113.10", "node_ip": "10.0.0.2"}),
]
workers = [
    ("worker-1", {"ssh_hostname": "203.0.113.11", "node_ip": "10.0.0.3"}),
]
