"""What a maintainer would ask of a machine, in one command that only reads."""

from pyinfra.api.command import StringCommand

from kubeadm_deploys.endpoints import local_proxy
from kubeadm_deploys.scripts import script

SECONDS = 60
"""How long the command takes at most, a little more when the last thing it asks hangs."""

DIAGNOSE = StringCommand("timeout", str(SECONDS), script("diagnose", local_proxy.UNIT))
"""Prints versions, resources, addresses, units with their journals, containers, and what the API server knows of
nodes, pods and events; of files in /etc/kubernetes only that they are there. What it prints may hold secrets."""
