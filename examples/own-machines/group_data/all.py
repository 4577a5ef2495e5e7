"""Data of all hosts: how to connect, and the options of the cluster.

Options are the fields of kubeadm_deploys.ClusterOptions; docs/options.md in the repository of kubeadm-deploys
lists them with their defaults.

pyinfra reads this file for every inventory in the folder above, also for hetzner.py. For a cluster on Hetzner
Cloud leave it as it is: the options of that cluster belong in hetzner.py beside this file.
"""

# How to connect. The default is the user of your ~/.ssh/config, else your own name. It must be root:
# ssh_user = "root"

# Or a user who may use sudo without a password:
# ssh_user = "admin"
# _sudo = True

# cluster_name = "kubernetes"

# A release that is not set follows the cluster once that exists; a new cluster gets this package's default:
# kubernetes_version = "1.37.2"

# These cannot be changed later:
# pod_subnet = "10.244.0.0/16"
# service_subnet = "10.96.0.0/12"
# dns_domain = "cluster.local"

# Who can open backups; the package needs its extra "backup":
# backup_recipients = ["age1...", "ssh-ed25519 AAAA..."]

# A load balancer on port 6443 in front of several control planes, if there is one:
# api_load_balancer_address = "10.0.0.100"

# Addresses for Services of type LoadBalancer, which your router routes to one or more nodes:
# service_load_balancer_cidr = "192.0.2.0/28"
