#!/bin/sh
# $1 the folder below $2 to which etcd's data is moved; if empty, the data is deleted, with all data kept in
# $2
#
# kubeadm stops the kubelet and the pods and deletes its own files; it leaves the network and what the pods
# wrote. Its etcd phase is skipped: it asks the other members, which wait for each other when a whole cluster
# is reset; a removal of one control plane removes its member beforehand. The rest is done in an order in
# which nothing comes back: first the writers, then what they wrote. Each line can be repeated after a kill.
# That is why kubeadm gets another certificate folder: etcd's data without the CA that belongs to it would be
# taken for another cluster's.
#
# kubeadm gives up at a mount below the kubelet's folder that is in use, and so these are unmounted before it. The
# content of a mount may be a volume, which is never deleted.
. library/cluster-traces.sh
set -eu
# A machine that was never prepared has none, and no pods.
if command -v ctr > /dev/null; then
  systemctl start containerd || { echo "containerd does not start, and only it can stop the pods: systemctl status containerd" >&2; exit 1; }
fi
systemctl stop kubelet 2> /dev/null || ! systemctl is-active --quiet kubelet
unmount() {
  cluster_mounts | grep "^$1" | while read -r mount; do
    # /proc/mounts has blanks and backslashes as octal numbers.
    path=$(printf %b "$(printf %s "$mount" | sed 's/\\/\\0/g')")
    umount "$path" 2> /dev/null || umount --lazy "$path" || [ -z "$(mounts_within "$mount")" ] ||
      { echo "$path cannot be unmounted; stop what uses it, and run again" >&2; exit 1; }
  done
}
remove() {
  mounted=$(mounts_within "$@" | head -n 1)
  if [ -n "$mounted" ]; then
    echo "$mounted is still mounted, and would be deleted; unmount it, and run again" >&2
    exit 1
  fi
  rm --recursive --force "$@"
}
unmount "$kubelet_folder/"
if command -v kubeadm > /dev/null; then
  kubeadm reset --force --skip-phases remove-etcd-member --cert-dir /nonexistent \
    --cri-socket unix:///run/containerd/containerd.sock > /dev/null
fi
# Calico's plugin needs the API to remove a pod's network. If the API is gone, kubeadm leaves the pod.
pods() { ctr --namespace k8s.io "$@"; }
if command -v ctr > /dev/null && [ -n "$(pods containers list --quiet)" ]; then
  for each in $(pods tasks list --quiet); do pods tasks delete --force "$each" > /dev/null; done
  for each in $(pods containers list --quiet); do pods containers delete "$each"; done
  systemctl restart containerd
fi
# Within etcd's folder, so that it is a rename even if that folder is a filesystem of its own.
if [ -n "$1" ] && [ -e /var/lib/etcd/member ]; then
  # shellcheck disable=SC2174 # The folders above them exist.
  mkdir --parents --mode=0700 "$2" "$1"
  mv /var/lib/etcd/member "$1/member"
fi
if [ -z "$1" ]; then remove "$2" /var/lib/etcd/member; fi
remove /etc/kubernetes/pki

for each in $(cluster_interfaces); do ip link delete "$each" 2> /dev/null || [ ! -e "/sys/class/net/$each" ]; done
unmount /
if command -v ip > /dev/null; then ip route flush proto 80; fi
if [ -e /sys/class/net/tunl0 ] && [ -e /var/lib/calico ]; then ip address flush dev tunl0; ip link set tunl0 down; fi

# Whole tables at once, so that no packet meets half a table; counters and rules of others are kept.
for tables in iptables ip6tables iptables-legacy ip6tables-legacy; do
  command -v $tables-save > /dev/null || continue
  saved=$($tables-save --counters 2> /dev/null) || continue
  if printf '%s\n' "$saved" | grep --quiet --extended-regexp "$cluster_rules"; then
    kept=$(printf '%s\n' "$saved" | grep --invert-match --extended-regexp "$cluster_rules")
    printf '%s\n' "$kept" | $tables-restore --counters
  fi
done
# nft fails on a kernel without nftables.
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

with_cluster_files remove
