"""The cluster that inventories/hetzner.py and deploys/servers.py are about. This is the file to edit.

Only cluster_name is needed. A second cluster is a second pair of files: inventories/staging.py, a copy of
inventories/hetzner.py, and inventories/group_data/staging.py, which deploys/servers.py reads with
--data description=inventories/group_data/staging.py.
"""

# Lower-case letters, digits and hyphens. The names of servers and nodes begin with it.
cluster_name = "demo"

# Any option of the cluster may stand here too (README.md lists them), for example:
# kubernetes_version = "1.37.2"
# pod_subnet = "10.244.0.0/16"

# The servers. What is missing has the value that is shown. Changing a number later adds what is missing;
# nothing that exists is ever rebuilt, resized or deleted because of a change here: it is only told.
hetzner: dict[str, object] = {
    # Where everything is made: `hcloud location list`.
    # "location": "fsn1",
    #
    # What servers are made from, Debian or Ubuntu: `hcloud image list --type system`.
    # "image": "debian-13",
    #
    # Your public key, which root on the servers accepts; the private key lies beside it, without ".pub".
    # "ssh_key": "~/.ssh/id_ed25519.pub",
    #
    # The private network between the servers; it may not overlap pod_subnet and service_subnet.
    # "network": "10.0.0.0/16",
    #
    # Who may reach SSH (and ping) from outside: everybody, or better your own networks.
    # "ssh_from": ["0.0.0.0/0", "::/0"],
    #
    # Who may reach the Kubernetes API. Load balancers have no firewall: with several control planes and
    # anything but everybody here, the load balancer gets no public address.
    # "api_from": ["0.0.0.0/0", "::/0"],
    #
    # Who may reach NodePorts: nobody.
    # "node_ports_from": [],
    #
    # Control planes: 1, or 3 for a cluster that survives the loss of one. Types: `hcloud server-type list`.
    # "control_plane": {"count": 1, "type": "cx23"},
    #
    # Workers, in pools of one server type each; the pool's name is part of the servers' names and a group
    # of the inventory. The labels are those of the servers in Hetzner's project; labels and taints of the
    # nodes are node_labels and node_taints in a file beside this one that is called like the pool (README.md).
    # "worker_pools": {
    #     "worker": {"count": 1, "type": "cx23", "labels": {}},
    # },
    #
    # The load balancer before several control planes: `hcloud load-balancer-type list`.
    # "load_balancer_type": "lb11",
    #
    # Which address SSH uses: "public_ipv4", "public_ipv6" or "private"; for private ones the host between.
    # "connect_by": "public_ipv4",
    # "jump_host": "admin@bastion.example.com",
}
