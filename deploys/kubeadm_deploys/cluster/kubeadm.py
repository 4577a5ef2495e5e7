"""Run kubeadm on a machine."""

from pyinfra.api.command import StringCommand

from kubeadm_deploys.facts.kubeadm_node import KUBEADM_SECONDS, KUBEADM_UNIT
from kubeadm_deploys.scripts import script

CHECKED_BY_US = "DirAvailable--var-lib-etcd"
"""kubeadm's check that etcd's folder is empty. It is replaced by our own, which looks at the contents: a
separate filesystem has a lost+found, and saved etcd data is kept in that folder.
"""


def kubeadm(*arguments: str, stdin: str) -> StringCommand:
    """Return a command that runs kubeadm with a document on stdin and never prints a token."""
    return script("run-kubeadm", KUBEADM_UNIT, *arguments, stdin=stdin, seconds=KUBEADM_SECONDS)
