"""How far kubeadm got on a machine."""

import base64
from dataclasses import dataclass
from enum import Enum

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from pyinfra.api import FactBase
from typing_extensions import override

from kubeadm_deploys.facts import lines

_SCRIPT = r"""
if [ -s /etc/machine-id ]; then echo "machine-id $(cat /etc/machine-id)"; fi
if [ -e /etc/systemd/system/kubeadm-deploys-api-proxy.service ]; then echo local-proxy; fi
cd /etc/kubernetes 2>/dev/null || exit 0
for file in kubelet.conf bootstrap-kubelet.conf admin.conf manifests/kube-apiserver.yaml pki/ca.key; do
  if [ -e "$file" ]; then echo "have:$file"; fi
done
if [ -d /var/lib/etcd/member ]; then echo 'have:etcd'; fi
if grep -qs kubelet-client-current.pem kubelet.conf; then echo 'rotating'; fi
if [ -f pki/ca.crt ]; then echo "ca $(base64 -w 0 pki/ca.crt)"; fi
client=/var/lib/kubelet/pki/kubelet-client-current.pem
if [ -f $client ]; then echo "client $(sed -n '/BEGIN CERT/,/END CERT/p; /END CERT/q' $client | base64 -w 0)"; fi
# The API's own health is public, and asks etcd too. What fails is marked [-], one line each.
if [ -e manifests/kube-apiserver.yaml ]; then
  seen=$(curl --insecure --silent --show-error --max-time 5 https://127.0.0.1:6443/readyz 2>&1)
  if [ "$seen" != ok ]; then
    reasons=$(printf %s "$seen" | sed -n 's/^\[-\]\([^ ]*\).*/\1/p' | tr '\n' ' ')
    seen="not ready: ${reasons:-$(printf %s "$seen" | tr '\n' ' ')}"
  fi
  echo "api $seen"
fi
"""


class NodeState(Enum):
    """What kubeadm made of a machine."""

    ABSENT = "absent"
    HALF = "half"
    MEMBER = "member"
    FOREIGN = "foreign"


@dataclass(frozen=True, kw_only=True)
class KubeadmNodeState:
    """Which of kubeadm's ``files`` are there, and the cluster's CA certificate (PEM, empty without one).

    ``client_certificate`` is the one with which the kubelet speaks to the API (PEM, empty before it has one).
    ``rotating`` is whether the kubelet's kubeconfig uses the certificate that the kubelet renews itself:
    ``kubeadm init`` changes it to that in its last phase but one, a join ends with it. ``api`` is what the API server
    of this machine says of itself: "ok", what it lacks, or empty when none is to run here. ``local_proxy`` is whether
    the machine has a proxy of its own to the API servers.
    """

    files: frozenset[str] = frozenset()
    rotating: bool = False
    ca_certificate: str = ""
    client_certificate: str = ""
    api: str = ""
    machine_id: str = ""
    local_proxy: bool = False

    @property
    def is_control_plane(self) -> bool:
        """Whether an API server is to run here."""
        return "manifests/kube-apiserver.yaml" in self.files

    @property
    def has_etcd_of_others(self) -> bool:
        """Whether there are data of an etcd and nothing of kubeadm's: it makes a CA before them.

        Cleaning removes the CA after them, so that what a kill leaves of it is none of this.
        """
        return self.files == {"etcd"} and not self.ca_certificate


class KubeadmNode(FactBase[KubeadmNodeState]):
    """kubeadm's traces on a machine, in one command; nothing secret is read."""

    default = KubeadmNodeState

    @override
    def command(self) -> str:
        return _SCRIPT

    @override
    def process(self, output: list[str]) -> KubeadmNodeState:
        values = lines.parse(output)
        return KubeadmNodeState(
            files=frozenset(lines.by_prefix(values, "have:")),
            rotating="rotating" in values,
            ca_certificate=base64.b64decode(values.get("ca", "")).decode(),
            client_certificate=base64.b64decode(values.get("client", "")).decode(),
            api=values.get("api", ""),
            machine_id=values.get("machine-id", ""),
            local_proxy="local-proxy" in values,
        )


def node_state(found: KubeadmNodeState, *, cluster_ca: str = "") -> NodeState:
    """Decide what a machine is from what was found on it.

    ``cluster_ca`` is the CA certificate of the cluster that it should belong to; without one, the machine
    itself says which cluster that is (the first control plane).
    """
    if not found.files and not found.ca_certificate:
        return NodeState.ABSENT
    if cluster_ca and found.ca_certificate and found.ca_certificate.strip() != cluster_ca.strip():
        return NodeState.FOREIGN
    if cluster_ca and found.client_certificate and not _is_issued(found.client_certificate, ca=cluster_ca):
        return NodeState.FOREIGN
    if found.has_etcd_of_others:
        return NodeState.FOREIGN
    joined = "kubelet.conf" in found.files and found.rotating and "bootstrap-kubelet.conf" not in found.files
    return NodeState.MEMBER if joined else NodeState.HALF


def _is_issued(certificate: str, *, ca: str) -> bool:
    try:
        x509.load_pem_x509_certificate(certificate.encode()).verify_directly_issued_by(
            x509.load_pem_x509_certificate(ca.encode())
        )
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
