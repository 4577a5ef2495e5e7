"""What a machine takes the name of the API endpoint for."""

import base64
from dataclasses import dataclass, field

from pyinfra.api import FactBase
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.facts import lines

HOSTS_FILE = "/etc/hosts"
HOSTS_TEMPLATE = "/etc/cloud/templates/hosts.debian.tmpl"

# With cloud-init's manage_etc_hosts the file is written anew from its template at every boot, and says so. What cannot
# be read must not be taken for empty: these files are written back.
_SCRIPT = f"""
hosts() {{ content=$(base64 -w 0 "$1") || exit 1; echo "hosts:$1 $content"; }}
if [ -e {HOSTS_FILE} ]; then hosts {HOSTS_FILE}; else echo hosts:{HOSTS_FILE}; fi
if grep -qs manage_etc_hosts {HOSTS_FILE} && [ -f {HOSTS_TEMPLATE} ]; then hosts {HOSTS_TEMPLATE}; fi
if [ -e /etc/kubernetes/kubelet.conf ] && [ ! -e /etc/kubernetes/bootstrap-kubelet.conf ]; then
  echo joined
  if [ -e /etc/kubernetes/manifests/kube-apiserver.yaml ]; then echo serves; fi
fi
"""


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
        return StringCommand(_SCRIPT)

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
