"""The command that collects diagnostics from a machine. It only reads."""

from pyinfra.api.command import StringCommand

from kubeadm_deploys.endpoints import KINDS
from kubeadm_deploys.scripts import script

SECONDS = 60
"""Seconds that the command takes at most, plus a few if its last step hangs."""

_UNITS = tuple(unit for kind in KINDS.values() for unit in kind.units)

DIAGNOSE = StringCommand("timeout", str(SECONDS), script("diagnose", *_UNITS))
"""Prints versions, resources, addresses, units and journals, containers, nodes, pods and events.

Files in /etc/kubernetes are only listed. The output may contain secrets."""
