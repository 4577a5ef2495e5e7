"""The API endpoint's name in a machine's hosts file."""

from collections.abc import Callable, Generator

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import StringCommand

from kubeadm_deploys import hosts_file
from kubeadm_deploys.cluster.leader import ask_leader
from kubeadm_deploys.facts.api_endpoint import HOSTS_FILE, ApiEndpoint, ApiEndpointState
from kubeadm_deploys.facts.reading import read
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations.failure import fails_clearly
from kubeadm_deploys.operations.text_files import write_command
from kubeadm_deploys.scripts import script


@operation()
@fails_clearly
def resolved(
    *, topology: Topology, endpoint: str, address_for: Callable[..., str]
) -> Generator[StringCommand, None, None]:
    """Make this machine take the endpoint's name for the address at which it is to find the API.

    + topology: the cluster
    + endpoint: name of the API endpoint
    + address_for: gives the address from ``control_planes``, ``current`` and ``serves_api``
    """
    found = read(host, ApiEndpoint)
    address = address_for(
        control_planes=ask_leader(host.state, topology).usable(topology),
        current=hosts_file.address_of(found.hosts_files.get(HOSTS_FILE, ""), name=endpoint),
        serves_api=found.serves_api,
    )
    commands = resolve_commands(found, endpoint=endpoint, address=address)
    if not commands:
        host.noop("it is resolved so already")
    yield from commands


def resolve_commands(found: ApiEndpointState, *, endpoint: str, address: str) -> list[StringCommand]:
    """What makes a machine take the endpoint's name for this address; nothing when it does already."""
    wanted = {
        path: hosts_file.with_name(text, name=endpoint, address=address)
        for path, text in found.hosts_files.items()
    }
    differing = {path: text for path, text in wanted.items() if text != found.hosts_files[path]}
    if not differing:
        return []
    write = write_command({path: text.encode(errors="surrogateescape") for path, text in differing.items()})
    if not (found.joined and HOSTS_FILE in differing):
        return [write]
    # One command that outlives its connection: what was written would keep a later run from restarting anything.
    restart = script("restart-clients")
    return [StringCommand("trap '' HUP;", write, "&&", restart, **write.connector_arguments)]
