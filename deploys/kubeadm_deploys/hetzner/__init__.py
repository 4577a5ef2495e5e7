"""Hetzner Cloud: create a cluster's servers from its description, and list them as an inventory."""
