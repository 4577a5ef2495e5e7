"""What commands change, in words that tests can name."""

import shlex

from kubeadm_deploys.operations import cluster_record
from tests.remote_scripts import script_called

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

_SCRIPTS = {
    "wait-for-api": "wait for the API",
    "write-files": "write files",
    "install-tarball": "fetch a release",
    "install-file": "fetch a release",
    "install-packages": "install packages",
    "run-unit": "start a unit",
    "write-pki": "write the keys",
    "stop-api-server": "stop the API server",
    "pull-images": "pull images",
}

_KNOWN = {
    "sysctl --load": "load sysctls",
    "systemctl --quiet disable": "stop a unit",
    "rm --recursive --force /etc/kubernetes/calico": "delete our files",
    "kubeadm token create": "make a token",
    "delete secret": "delete a token",
    "label --overwrite node": "label",
    "taint --overwrite node": "label",
    "annotate --overwrite node": "label",
    "delete node": "delete node",
    " drain ": "drain",
    " cordon ": "cordon",
    cluster_record.WRITE: "record",
    "apply --server-side": "apply",
    "/etc/kubernetes/tmp/kubeadm-backup": "restore a manifest",
}


def in_words(command: str) -> str:
    """A command for people: kubeadm with its arguments, what is known by its words, the beginning of all else."""
    script, arguments = script_called(command)
    if script == "run-kubeadm":
        return shlex.join(["kubeadm", *arguments[1:]])
    if script == "clean-machine":
        return "clean and keep etcd" if arguments[0] else "clean"
    if script == "etcdctl" and arguments[:2] == ["member", "remove"]:
        return "remove from etcd"
    if script:
        return _SCRIPTS[script]
    # The hosts file of a node: what reaches the API by it is restarted with it.
    if " write-files " in command:
        return "write files"
    return next(
        (label for known, label in _KNOWN.items() if known in command), " ".join(command.split())[:70]
    )
