"""What a machine takes the name of the API endpoint for."""

import base64
from dataclasses import dataclass, field

from pyinfra.api import FactBase
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.facts import lines
from kubeadm_deploys.scripts import script

HOSTS_FILE = "/etc/hosts"
HOSTS_TEMPLATE = "/etc/cloud/templates/hosts.debian.tmpl"


@dataclass(frozen=True, kw_only=True)
class ApiEndpointState:
    """Contents of the ``hosts_files`` by path: /etc/hosts, and its template where cloud-init keeps it.

    ``joined`` is whether the machine is a node, and ``serves_api`` whether it is one with an API server.
    """

    hosts_files: dict[str, str] = field(default_factory=dict)
    joined: bool = False
    serves_api: bool = False


class ApiEndpoint(FactBase[ApiEndpointState]):
    """Hosts files, and whether an API server runs here, in one command."""

    @override
    def command(self) -> StringCommand:
        return script("read-api-endpoint", HOSTS_FILE, HOSTS_TEMPLATE)

    @override
    def process(self, output: list[str]) -> ApiEndpointState:
        values = lines.parse(output)
        return ApiEndpointState(
            hosts_files={
                # surrogateescape keeps bytes that are no UTF-8 as they are.
                path: base64.b64decode(content).decode(errors="surrogateescape")
                for path, content in lines.by_prefix(values, "hosts:").items()
            },
            joined="joined" in values,
            serves_api="serves" in values,
        )
