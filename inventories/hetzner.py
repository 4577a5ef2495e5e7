"""The servers on Hetzner Cloud of the cluster that group_data/hetzner.py describes."""

from kubeadm_deploys.hetzner.inventory.groups import hetzner_groups as _hetzner_groups

# One variable per group; the pools are only known at run time.
globals().update(_hetzner_groups(__file__))
