"""The cluster of inventories/hetzner.py and deploys/servers.py. This is the file to edit.

Only cluster_name is required. A second cluster needs a second pair of files: inventories/staging.py, a copy
of inventories/hetzner.py, and inventories/group_data/staging.py, which deploys/servers.py reads with
--data description=inventories/group_data/staging.py.
"""

# Lower-case letters, digits and hyphens. The names of servers and nodes begin with it.
cluster_name = "demo"

# Any cluster option can be set here too (docs/options.md lists them), for example:
# kubernetes_version = "1.37.2"
# pod_subnet = "10.244.0.0/16"

# The servers. Commented settings show the defaults. A higher number adds servers; nothing that exists is ever
# rebuilt, resized or deleted because of a change here: differences are only reported.
hetzner: dict[str, object] = {
    # Location of everything: `hcloud location list`.
    # "location": "fsn1",
    #
    # Image of new servers, Debian or Ubuntu: `hcloud image list --type system`.
    # "image": "debian-13",
    #
    # Your public key for root on the servers; the private key is beside it, without ".pub".
    # "ssh_key": "~/.ssh/id_ed25519.pub",
    #
    # The private network of the servers; it must not overlap pod_subnet or service_subnet.
    # "network": "10.0.0.0/16",
    #
    # Networks that may reach SSH (and ping) from outside: all, or better only your own.
    # "ssh_from": ["0.0.0.0/0", "::/0"],
    #
    # Networks that may reach the Kubernetes API. Load balancers have no firewall: with several control planes
    # and anything but all networks here, the load balancer gets no public address.
    # "api_from": ["0.0.0.0/0", "::/0"],
    #
    # Networks that may reach NodePorts: none.
    # "node_ports_from": [],
    #
    # Control planes: 1, or 3 to survive the loss of one. Types: `hcloud server-type list`.
    # "control_plane": {"count": 1, "type": "cx23"},
    #
    # Workers, in pools of one server type each. The pool's name is part of the servers' names and is a group
    # of the inventory. These labels are for the servers in the Hetzner project; for the nodes, set
    # node_labels and node_taints in a file beside this one with the pool's name (docs/configuration.md).
    # "worker_pools": {
    #     "worker": {"count": 1, "type": "cx23", "labels": {}},
    # },
    #
    # Load balancer for several control planes: `hcloud load-balancer-type list`.
    # "load_balancer_type": "lb11",
    #
    # Address that SSH uses: "public_ipv4", "public_ipv6" or "private", which may need a jump host.
    # "connect_by": "public_ipv4",
    # "jump_host": "admin@bastion.example.com",
}
