"""Modules that share one cluster, and so go to one process."""
