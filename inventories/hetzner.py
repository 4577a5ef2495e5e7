"""The servers on Hetzner Cloud of the cluster that group_data/hetzner.py describes."""

from kubeadm_deploys.hetzner.inventory import hetzner_groups as _hetzner_groups

# A variable a group; which pools there are is only known now.
globals().update(_hetzner_groups(__file__))
