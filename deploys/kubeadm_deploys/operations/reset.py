"""A machine without its cluster: what the node's sections prepared stays, what the cluster made of it goes."""

from collections.abc import Generator, Sequence
from datetime import UTC, datetime

from pyinfra import host, logger
from pyinfra.api import Host, operation
from pyinfra.api.command import QuoteString, StringCommand

from kubeadm_deploys import hosts_file
from kubeadm_deploys.facts.api_endpoint import ApiEndpoint
from kubeadm_deploys.facts.cluster_traces import FILES, INTERFACES, MOUNTS, RULES, ClusterTraces
from kubeadm_deploys.facts.kubeadm_node import SAVED_ETCD, KubeadmNode
from kubeadm_deploys.facts.reading import read
from kubeadm_deploys.operations.failure import fails_clearly
from kubeadm_deploys.operations.text_files import write_command

_SECONDS = 600
"""How long cleaning may take; pods are killed and not waited for."""

# kubeadm stops the kubelet and the pods and deletes its own files; it leaves the network and what the pods wrote. Its
# phase for etcd asks the other members, which in a cluster that is given up wait for each other: whoever takes one
# control plane out of a cluster that goes on removes its member before.
# The rest is done in an order in which nothing comes back: first who writes, then what was written. Each line can be
# done again after a kill. For that kubeadm is led away from the certificates: etcd's data without the CA that was there
# before them would be taken for somebody else's.
_CLEAN = rf"""
set -eu
systemctl start containerd || {{ echo "containerd does not start, and only it can stop the pods: systemctl status containerd" >&2; exit 1; }}
if command -v kubeadm > /dev/null; then
  kubeadm reset --force --skip-phases remove-etcd-member --cert-dir /nonexistent \
    --cri-socket unix:///run/containerd/containerd.sock > /dev/null
fi
systemctl stop kubelet 2> /dev/null || ! systemctl is-active --quiet kubelet
# Calico's plugin takes a pod's network away only with the API, which may be gone: then kubeadm leaves the pod.
pods() {{ ctr --namespace k8s.io "$@"; }}
if [ -n "$(pods containers list --quiet)" ]; then
  for each in $(pods tasks list --quiet); do pods tasks delete --force "$each" > /dev/null; done
  for each in $(pods containers list --quiet); do pods containers delete "$each"; done
  systemctl restart containerd
fi
# $1 is where data of etcd are kept; when it is empty they are deleted. Within etcd's folder, so that it is a rename
# also where that is a filesystem of its own.
if [ -n "$1" ] && [ -e /var/lib/etcd/member ]; then
  mkdir --parents --mode=0700 {SAVED_ETCD} "$1"
  mv /var/lib/etcd/member "$1/member"
fi
if [ -z "$1" ]; then rm --recursive --force {SAVED_ETCD} /var/lib/etcd/member; fi
rm --recursive --force /etc/kubernetes/pki

for each in $({INTERFACES}); do ip link delete "$each" 2> /dev/null || [ ! -e "/sys/class/net/$each" ]; done
for each in $({MOUNTS}); do umount "$each" || umount --lazy "$each"; done
if command -v ip > /dev/null; then ip route flush proto 80; fi
if [ -e /sys/class/net/tunl0 ] && [ -e /var/lib/calico ]; then ip address flush dev tunl0; ip link set tunl0 down; fi

# Whole tables at once, so that no packet meets half of them; counters and everybody else's rules stay as they are.
for tables in iptables ip6tables iptables-legacy ip6tables-legacy; do
  command -v $tables-save > /dev/null || continue
  saved=$($tables-save --counters 2> /dev/null) || continue
  if printf '%s\n' "$saved" | grep --quiet --extended-regexp '{RULES}'; then
    kept=$(printf '%s\n' "$saved" | grep --invert-match --extended-regexp '{RULES}')
    printf '%s\n' "$kept" | $tables-restore --counters
  fi
done
# A kernel that has none of them cannot be asked.
if command -v nft > /dev/null && found=$(nft list tables 2> /dev/null); then
  printf '%s\n' "$found" | while read -r _ family table; do
    case $table in kube-proxy|calico) nft delete table "$family" "$table" ;; esac
  done
fi
if command -v ipset > /dev/null && found=$(ipset list --name 2> /dev/null); then
  printf '%s\n' "$found" | while read -r name; do
    case $name in cali*|KUBE-*) ipset destroy "$name" ;; esac
  done
fi

rm --recursive --force {" ".join(FILES)}
"""


def clean_command(*, saved: str = "") -> StringCommand:
    """The command that takes everything of a cluster from a machine, however far it had come; needs no API server.

    ``saved`` is a folder below ``SAVED_ETCD`` where data of etcd are kept; when it is empty they are deleted, and with
    them those that were kept before.
    """
    return StringCommand(
        "sh", "-c", QuoteString(_CLEAN), "clean-machine", QuoteString(saved), _timeout=_SECONDS
    )


def cleaning(machine: Host, *, keep: bool) -> Generator[StringCommand, None, None]:
    """Clean a machine while operations run; with ``keep`` data of etcd are kept, and the operator reads where."""
    if not keep:
        yield clean_command()
        return
    found = read(machine, KubeadmNode)
    saved = f"{SAVED_ETCD}/{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    yield clean_command(saved=saved)
    if "etcd" in found.files:
        logger.warning(
            f"--> Warning: {machine.name}: the etcd data that were there are kept in {saved}, until deploys/reset.py "
            "cleans the machine"
        )


@operation()
@fails_clearly
def cleaned(
    *, endpoint: str, units: Sequence[str], paths: Sequence[str], keep_etcd: bool
) -> Generator[StringCommand, None, None]:
    """Take everything of a cluster from this machine.

    + endpoint: name of the cluster's API, to be forgotten
    + units: systemd units to stop and disable
    + paths: files and folders of ours to delete, the units' too
    + keep_etcd: whether data of etcd are renamed and kept
    """
    given_up = () if keep_etcd else (SAVED_ETCD,)
    if not read(host, ClusterTraces, endpoint=endpoint, paths=(*paths, *given_up)):
        host.noop("nothing of a cluster is here")
        return
    yield from cleaning(host, keep=keep_etcd)
    for unit in units:
        name = QuoteString(unit)
        yield StringCommand(
            "if systemctl --quiet is-enabled",
            name,
            "2> /dev/null; then systemctl --quiet disable --now",
            name,
            "; fi",
        )
    yield StringCommand("rm --recursive --force", *map(QuoteString, paths), "&& systemctl daemon-reload")
    texts = read(host, ApiEndpoint).hosts_files
    without = {path: hosts_file.without_name(text, name=endpoint) for path, text in texts.items()}
    if differing := {path: text for path, text in without.items() if text != texts[path]}:
        yield write_command({path: text.encode(errors="surrogateescape") for path, text in differing.items()})
