"""Hetzner's API: the client, and the resources of a project."""
