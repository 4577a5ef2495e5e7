"""With what a machine joins the cluster: a token of this run's own, and for control planes the keys that all share.

They live in this process's memory and on stdin of the commands that need them; never on the operator's disk, in an
argument or in a log.
"""

import secrets
import string

from gevent.lock import BoundedSemaphore, RLock
from pyinfra.api.exceptions import DeployError
from pyinfra.api.host import Host

from kubeadm_deploys.facts.framing import framed_command, framed_lines
from kubeadm_deploys.operations import direct, shared_pki

_ALPHABET = string.ascii_lowercase + string.digits


def new_token() -> str:
    """A bootstrap token in kubeadm's form: six characters of id, a dot, sixteen of secret."""
    return ".".join("".join(secrets.choice(_ALPHABET) for _ in range(length)) for length in (6, 16))


class JoinCredentials:
    """The run's token, whether it exists in the cluster, and whose turn it is to join as a control plane.

    ``control_plane_turn`` is held by the control plane that joins: etcd takes one new member at a time.
    """

    def __init__(self) -> None:
        self.token = new_token()
        self.token_exists = False
        self.control_plane_turn = BoundedSemaphore()
        self._lock = RLock()

    @property
    def secret_name(self) -> str:
        """Name of the Secret in which the cluster keeps the token."""
        return f"bootstrap-token-{self.token.partition('.')[0]}"

    def ensure_token(self, control_plane: Host, *, document: str) -> str:
        """The token to join with, created in the cluster by the first host that wants it.

        Raises:
            DeployError: the control plane refused it.
        """
        with self._lock:
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

    @staticmethod
    def ask_shared_pki(control_plane: Host) -> str:
        """The certificates and keys that every control plane has, for ``shared_pki.write_command``.

        Raises:
            DeployError: they cannot be read, or some are missing.
        """
        # Past the facts, whose answers pyinfra can be told to print.
        complete, output = direct.run(control_plane, framed_command("SharedPki", shared_pki.read_command()))
        lines = framed_lines("SharedPki", output.stdout_lines)
        if not complete or lines is None:
            raise DeployError(f"{control_plane.name}: the cluster's keys cannot be read: {output.stderr}")
        return "\n".join([*lines, ""])
