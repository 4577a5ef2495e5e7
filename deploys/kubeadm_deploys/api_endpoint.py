"""The name behind which the API servers stand.

Nodes know the API by a name and not by an address, so that what stands behind it can change later.
"""

import re

from pyinfra.api import deploy
from pyinfra.operations import files

from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.options import ClusterOptions


@deploy("API endpoint")
def resolve_api_endpoint(*, options: ClusterOptions, topology: Topology) -> None:
    """Let the machine resolve the endpoint's name to the first control plane, by a line of its ``/etc/hosts``."""
    files.line(
        name="Resolve the name of the API endpoint",
        path="/etc/hosts",
        line=rf"^\S+\s+{re.escape(options.endpoint)}$",
        replace=f"{topology.control_planes[0].ip} {options.endpoint}",
    )
