"""What the hosts of one run share: the cluster's CA certificate and the token to join it.

Token and keys live in this process's memory and on stdin of the commands that need them; never on the
operator's disk, in an argument or in a log.
"""

import secrets
import string
from dataclasses import dataclass, field

from gevent.lock import BoundedSemaphore
from pyinfra.api.exceptions import DeployError
from pyinfra.api.host import Host

from kubeadm_deploys.facts.kubeadm_node import KubeadmNode
from kubeadm_deploys.operations import direct

_ALPHABET = string.ascii_lowercase + string.digits


def new_token() -> str:
    """A bootstrap token in kubeadm's form: six characters of id, a dot, sixteen of secret."""
    return ".".join("".join(secrets.choice(_ALPHABET) for _ in range(length)) for length in (6, 16))


# What control planes share, as kubeadm's documentation lists it ("Manual certificate distribution").
_SHARED_PKI = "ca.crt ca.key sa.key sa.pub front-proxy-ca.crt front-proxy-ca.key etcd/ca.crt etcd/ca.key"


@dataclass
class ClusterRun:
    """Values that are read or made once in a run, however many hosts ask."""

    token: str = field(default_factory=new_token, repr=False)
    token_exists: bool = False
    lock: BoundedSemaphore = field(default_factory=BoundedSemaphore, repr=False)
    _ca_certificate: str = ""

    def ca_certificate(self, control_plane: Host) -> str:
        """The cluster's CA certificate, read from a control plane; empty while there is no cluster."""
        with self.lock:
            if not self._ca_certificate:
                self._ca_certificate = control_plane.get_fact(KubeadmNode).ca_certificate
        return self._ca_certificate

    def learn_ca_certificate(self, ca_certificate: str) -> None:
        """Keep what was read of the cluster anyway, so that nobody reads it again."""
        self._ca_certificate = self._ca_certificate or ca_certificate

    def ensure_token(self, control_plane: Host, *, document: str) -> str:
        """The token to join with, created in the cluster by the first host that asks.

        Raises:
            DeployError: the control plane refused it.
        """
        with self.lock:
            if not self.token_exists:
                created, output = direct.run(
                    control_plane,
                    "KUBECONFIG=/etc/kubernetes/admin.conf kubeadm token create --config /dev/stdin > /dev/null",
                    stdin=document,
                )
                if not created:
                    raise DeployError(f"{control_plane.name}: kubeadm made no join token: {output.stderr}")
                self.token_exists = True
        return self.token

    def shared_pki(self, control_plane: Host) -> str:
        """The certificates and keys that every control plane has, as a base64 tar archive.

        Raises:
            DeployError: they cannot be read.
        """
        archived, output = direct.run(
            control_plane, f"tar --create --directory /etc/kubernetes/pki {_SHARED_PKI} | base64"
        )
        if not archived:
            raise DeployError(f"{control_plane.name}: the cluster's keys cannot be read: {output.stderr}")
        return output.stdout


CURRENT = ClusterRun()
"""pyinfra executes deploy files once for each host; what they share must outlive that: one a process."""
