"""Read how a machine resolves the name of the API endpoint."""

import base64
from dataclasses import dataclass, field

from pyinfra.api import FactBase
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.remote import lines
from kubeadm_deploys.scripts import script

HOSTS_FILE = "/etc/hosts"
RESTART_DUE = "/run/kubeadm-deploys-restart-clients"
"""A file that exists while pods have to be restarted because of the hosts file; a reboot restarts them anyway."""

HOSTS_TEMPLATE = "/etc/cloud/templates/hosts.debian.tmpl"


@dataclass(frozen=True, kw_only=True)
class ApiEndpointState:
    """Contents of the ``hosts_files`` by path: /etc/hosts, and cloud-init's template of it if that exists.

    ``joined`` is whether the machine is a node, ``serves_api`` whether it is a node with an API server, and
    ``restart_due`` whether an earlier run changed the file and could not restart the pods that use it.
    """

    hosts_files: dict[str, str] = field(default_factory=dict)
    joined: bool = False
    serves_api: bool = False
    restart_due: bool = False


class ApiEndpoint(FactBase[ApiEndpointState]):
    """Read the hosts files, and whether an API server runs here, in one command."""

    @override
    def command(self) -> StringCommand:
        return script("read-api-endpoint", HOSTS_FILE, HOSTS_TEMPLATE, RESTART_DUE)

    @override
    def process(self, output: list[str]) -> ApiEndpointState:
        values = lines.parse(output)
        return ApiEndpointState(
            hosts_files={
                # surrogateescape preserves bytes that are not UTF-8.
                path: base64.b64decode(content).decode(errors="surrogateescape")
                for path, content in lines.by_prefix(values, "hosts:").items()
            },
            joined="joined" in values,
            serves_api="serves" in values,
            restart_due="restart-due" in values,
        )
