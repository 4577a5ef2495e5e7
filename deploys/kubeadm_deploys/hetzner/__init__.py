"""Hetzner Cloud: the servers of a cluster from its description, and the inventory that finds them."""
