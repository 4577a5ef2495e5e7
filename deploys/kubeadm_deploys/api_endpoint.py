"""The name behind which the API servers stand.

Nodes know the API by a name and not by an address, so that what stands behind it can change later.
"""

import re

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.operations import files

from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.options import ClusterOptions


def endpoint_address(*, topology: Topology, host_name: str) -> str:
    """The address that the endpoint's name has on a machine: a control plane's own, else the first one's."""
    own = [node.ip for node in topology.control_planes if node.host == host_name]
    return (own or [topology.control_planes[0].ip])[0]


@deploy("API endpoint")
def resolve_api_endpoint(*, options: ClusterOptions, topology: Topology) -> None:
    """Let the machine resolve the endpoint's name, by a line of its ``/etc/hosts``.

    A control plane finds itself, so that it needs no other machine to start.
    """
    files.line(
        name="Resolve the name of the API endpoint",
        path="/etc/hosts",
        line=rf"^\S+\s+{re.escape(options.endpoint)}$",
        replace=f"{endpoint_address(topology=topology, host_name=host.name)} {options.endpoint}",
    )
