"""What commands change, in words that tests can name."""

import shlex

from kubeadm_deploys.operations import cluster_record

PREPARATION = (
    "write files",
    "load sysctls",
    "pull images",
    "fetch a release",
    "install packages",
    "start a unit",
    "stop a unit",
    "delete our files",
    "label",
    "taint",
    "record",
    "apply",
    "wait for the API",
    "make a token",
    "delete a token",
    "write the keys",
)
"""Changes that any run may make on a machine of its own cluster; every other one decides over nodes or data."""

_KNOWN = {
    "wait-for-api": "wait for the API",
    "write-files": "write files",
    "sysctl --load": "load sysctls",
    "# A run that was killed could not clean": "fetch a release",
    "DEBIAN_FRONTEND=noninteractive": "install packages",
    "systemctl --quiet enable": "start a unit",
    "systemctl --quiet disable": "stop a unit",
    "rm --recursive --force /etc/kubernetes/calico": "delete our files",
    "kubeadm token create": "make a token",
    "delete secret": "delete a token",
    " write-pki ": "write the keys",
    "label --overwrite node": "label",
    "taint --overwrite node": "label",
    "annotate --overwrite node": "label",
    "delete node": "delete node",
    "member remove": "remove from etcd",
    "rm --force kube-apiserver.yaml": "stop the API server",
    " drain ": "drain",
    " cordon ": "cordon",
    cluster_record.WRITE: "record",
    "apply --server-side": "apply",
    "kubeadm-deploys-pull": "pull images",
    "/etc/kubernetes/tmp/kubeadm-backup": "restore a manifest",
}


def in_words(command: str) -> str:
    """A command for people: kubeadm with its arguments, what is known by its words, the beginning of all else."""
    words = shlex.split(command)
    if words[3:4] == ["kubeadm"]:
        return shlex.join(words[3:])
    if "clean-machine" in words:
        return "clean" if not words[-1] else "clean and keep etcd"
    return next(
        (label for known, label in _KNOWN.items() if known in command), " ".join(command.split())[:70]
    )
