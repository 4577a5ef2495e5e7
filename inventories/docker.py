"""The local docker hosts of the cluster that the environment variable CLUSTER names (default: kubeadm)."""

from kubeadm_deploys.inventory.docker_hosts import docker_groups as _docker_groups

control_plane, workers = _docker_groups()
