"""What a cluster has of Hetzner's cloud controller manager, and what that one has done with the nodes."""

from dataclasses import dataclass, field

from pyinfra.api import FactBase
from pyinfra.api.command import QuoteString, StringCommand
from typing_extensions import override

from kubeadm_deploys.facts import lines
from kubeadm_deploys.facts.cluster_health import ADMIN_CONF, KUBECTL, UNINITIALIZED

# The token itself does not leave the machine.
_SECRET = f"""
if [ ! -e {ADMIN_CONF} ]; then
  echo no-secret
elif secret=$({KUBECTL} --namespace kube-system get secret hcloud --ignore-not-found \\
  --output 'jsonpath={{.data.token}} {{.data.network}}'); then
  if [ -n "${{secret% *}}" ]; then
    echo "token $(printf %s "${{secret% *}}" | base64 --decode | sha256sum | cut -c1-64)"
    echo "network $(printf %s "${{secret#* }}" | base64 --decode)"
  else
    echo no-secret
  fi
fi
"""

_WAIT_UNTIL_INITIALIZED = f"""
set -eu
deadline=$(($(date +%s) + $1))
while true; do
  nodes=$({KUBECTL} get nodes --output "jsonpath=$2")
  waiting=$(printf '%s\\n' "$nodes" | awk 'NF == 2 {{print $2}}')
  if [ -z "$waiting" ] && [ -z "$({KUBECTL} --namespace kube-system get pods --selector k8s-app=kube-dns \\
    --field-selector spec.nodeName= --output name)" ]; then exit 0; fi
  [ "$(date +%s)" -lt "$deadline" ] || break
  sleep 1
done
[ -n "$waiting" ] || exit 0
{{
  echo "Hetzner's cloud controller has not initialised these nodes within $1 seconds:" $waiting
  echo "It finds a node's server by the node's name, in the project of the token in the secret hcloud:"
  echo "is the server called like the node, and is HCLOUD_TOKEN of the project that it is in?"
  {KUBECTL} --namespace kube-system get pods --selector app=hcloud-cloud-controller-manager --output wide
  {KUBECTL} --namespace kube-system logs deployment/hcloud-cloud-controller-manager --tail 15
}} >&2
exit 1
"""

_TAINTS_AND_NAMES = (
    f'{{range .items[*]}}{{.spec.taints[?(@.key=="{UNINITIALIZED}")].key}} {{.metadata.name}}{{"\\n"}}{{end}}'
)


@dataclass(frozen=True, kw_only=True)
class CloudControllerState:
    """sha256 of the ``files`` that it is applied from, and of the token in the cluster's Secret, with the network
    that the Secret names; both are empty without a Secret, and the first is None when the cluster did not answer.
    """

    files: dict[str, str] = field(default_factory=dict)
    token_sha256: str | None = None
    network: str = ""


class CloudController(FactBase[CloudControllerState]):
    """Files and Secret, in one command."""

    @override
    def command(self, paths: tuple[str, ...] = ()) -> StringCommand:
        return StringCommand(_SECRET, lines.files_script(paths), _separator="\n")

    @override
    def process(self, output: list[str]) -> CloudControllerState:
        values = lines.parse(output)
        return CloudControllerState(
            files=lines.files(values),
            token_sha256="" if "no-secret" in values else values.get("token"),
            network=values.get("network", ""),
        )


class NodesInitialized(FactBase[list[str]]):
    """Waits until the cloud controller has initialised every node, and the DNS pods that waited for that have a
    node; the host fails when nodes still wait after ``timeout`` seconds.

    A fact, although it takes its time: see ``NodesReady``.
    """

    @override
    def command(self, timeout: int) -> StringCommand:
        return StringCommand(
            "sh",
            "-c",
            QuoteString(_WAIT_UNTIL_INITIALIZED),
            "wait",
            str(timeout),
            QuoteString(_TAINTS_AND_NAMES),
        )
