"""What a machine needs to join: a token of this run, and for control planes the shared certificates and keys.

They exist only in this process's memory and on stdin of the commands that need them, never on the operator's
disk, in an argument or in a log.
"""

import secrets
import string

from gevent.lock import BoundedSemaphore, RLock
from pyinfra.api.exceptions import DeployError
from pyinfra.api.host import Host

from kubeadm_deploys.operations import shared_pki
from kubeadm_deploys.remote import direct
from kubeadm_deploys.remote.framing import framed_command, framed_lines
from kubeadm_deploys.scripts import ENVIRONMENT

_ALPHABET = string.ascii_lowercase + string.digits


def new_token() -> str:
    """Return a bootstrap token in kubeadm's format: an ID of six characters, a dot, a secret of sixteen."""
    return ".".join("".join(secrets.choice(_ALPHABET) for _ in range(length)) for length in (6, 16))


class JoinCredentials:
    """The run's token, whether it exists in the cluster, and a semaphore for joining control planes.

    A control plane holds ``control_plane_turn`` while it joins, because etcd accepts only one new member at a
    time.
    """

    def __init__(self) -> None:
        self.token = new_token()
        self.token_exists = False
        self.control_plane_turn = BoundedSemaphore()
        self._lock = RLock()

    @property
    def secret_name(self) -> str:
        """The name of the Secret in which the cluster stores the token."""
        return f"bootstrap-token-{self.token.partition('.')[0]}"

    def ensure_token(self, control_plane: Host, *, document: str) -> str:
        """Return the token to join with; the first caller creates it in the cluster.

        Raises:
            DeployError: kubeadm could not create the token.
        """
        with self._lock:
            if not self.token_exists:
                created, output = direct.run(
                    control_plane,
                    f"{ENVIRONMENT} KUBECONFIG=/etc/kubernetes/admin.conf "
                    "kubeadm token create --config /dev/stdin > /dev/null",
                    stdin=document,
                )
                if not created:
                    raise DeployError(f"{control_plane.name}: could not create a join token: {output.stderr}")
                self.token_exists = True
        return self.token

    @staticmethod
    def ask_shared_pki(control_plane: Host) -> str:
        """Return the certificates and keys that all control planes share, for ``shared_pki.write_command``.

        Raises:
            DeployError: they cannot be read, or some are missing.
        """
        # Not a fact: pyinfra can print the output of facts.
        complete, output = direct.run(control_plane, framed_command("SharedPki", shared_pki.read_command()))
        lines = framed_lines("SharedPki", output.stdout_lines)
        if not complete or lines is None:
            raise DeployError(f"{control_plane.name}: could not read the cluster's keys: {output.stderr}")
        return "\n".join([*lines, ""])
