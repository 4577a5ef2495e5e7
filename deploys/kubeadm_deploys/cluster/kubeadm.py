"""Run kubeadm on a machine."""

from pyinfra.api.command import StringCommand

from kubeadm_deploys.facts.kubeadm_node import KUBEADM_SECONDS, KUBEADM_UNIT, MANIFESTS
from kubeadm_deploys.scripts import script

CHECKED_BY_US = "DirAvailable--var-lib-etcd"
"""kubeadm's check that etcd's folder is empty. It is replaced by our own, which looks at the contents: a
separate filesystem has a lost+found, and saved etcd data is kept in that folder.
"""

LEFT_BY_INIT = ",".join(
    (
        CHECKED_BY_US,
        *(f"FileAvailable--etc-kubernetes-manifests-{name}.yaml" for name in MANIFESTS),
        *("Port-6443", "Port-10250", "Port-10257", "Port-10259", "Port-2379", "Port-2380"),
    )
)
"""What an init leaves behind that was interrupted after it had stored something: kubeadm continues from it if it is told
to ignore these errors."""


NO_DOCUMENT = "\n"
"""The standard input of a kubeadm that gets no document."""


def kubeadm(*arguments: str, stdin: str) -> StringCommand:
    """Return a command that runs kubeadm with a document on stdin and never prints a token."""
    return script("run-kubeadm", KUBEADM_UNIT, *arguments, stdin=stdin, seconds=KUBEADM_SECONDS)
