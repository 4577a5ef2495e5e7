"""Copy the certificates and keys that all control planes of a cluster share from one to the next.

They go over our own connections and on stdin, so that no key is stored in the cluster for the next control
plane to fetch. Source: Kubernetes documentation, "Creating highly available clusters with kubeadm", manual
certificate distribution.
"""

from pyinfra.api.command import StringCommand

from kubeadm_deploys.scripts import script

FOLDER = "/etc/kubernetes/pki"

FILES = (
    "ca.crt",
    "ca.key",
    "sa.key",
    "sa.pub",
    "front-proxy-ca.crt",
    "front-proxy-ca.key",
    "etcd/ca.crt",
    "etcd/ca.key",
)
"""Relative to ``FOLDER``."""


def read_command(*, folder: str = FOLDER) -> StringCommand:
    """Return the command that prints what ``write_command`` takes; it fails and names missing files."""
    return script("read-pki", folder, *FILES)


def write_command(pki: str, *, folder: str = FOLDER) -> StringCommand:
    """Return the command that writes what ``read_command`` printed: all of it, or nothing if it fails."""
    return script("write-pki", folder, *FILES, stdin=pki)
