#!/bin/sh
# $1 where data of etcd are kept, below the folder $2; when it is empty they are deleted, with those that were kept
# before
#
# kubeadm stops the kubelet and the pods and deletes its own files; it leaves the network and what the pods wrote. Its
# phase for etcd asks the other members, which in a cluster that is given up wait for each other: whoever takes one
# control plane out of a cluster that goes on removes its member before. The rest is done in an order in which nothing
# comes back: first who writes, then what was written. Each line can be done again after a kill. For that kubeadm is
# led away from the certificates: etcd's data without the CA that was there before them would be taken for somebody
# else's.
. library/cluster-traces.sh
set -eu
systemctl start containerd || { echo "containerd does not start, and only it can stop the pods: systemctl status containerd" >&2; exit 1; }
if command -v kubeadm > /dev/null; then
  kubeadm reset --force --skip-phases remove-etcd-member --cert-dir /nonexistent \
    --cri-socket unix:///run/containerd/containerd.sock > /dev/null
fi
systemctl stop kubelet 2> /dev/null || ! systemctl is-active --quiet kubelet
# Calico's plugin takes a pod's network away only with the API, which may be gone: then kubeadm leaves the pod.
pods() { ctr --namespace k8s.io "$@"; }
if [ -n "$(pods containers list --quiet)" ]; then
  for each in $(pods tasks list --quiet); do pods tasks delete --force "$each" > /dev/null; done
  for each in $(pods containers list --quiet); do pods containers delete "$each"; done
  systemctl restart containerd
fi
# Within etcd's folder, so that it is a rename also where that is a filesystem of its own.
if [ -n "$1" ] && [ -e /var/lib/etcd/member ]; then
  # shellcheck disable=SC2174 # The folders above them are there.
  mkdir --parents --mode=0700 "$2" "$1"
  mv /var/lib/etcd/member "$1/member"
fi
if [ -z "$1" ]; then rm --recursive --force "$2" /var/lib/etcd/member; fi
rm --recursive --force /etc/kubernetes/pki

for each in $(cluster_interfaces); do ip link delete "$each" 2> /dev/null || [ ! -e "/sys/class/net/$each" ]; done
for each in $(cluster_mounts); do umount "$each" || umount --lazy "$each"; done
if command -v ip > /dev/null; then ip route flush proto 80; fi
if [ -e /sys/class/net/tunl0 ] && [ -e /var/lib/calico ]; then ip address flush dev tunl0; ip link set tunl0 down; fi

# Whole tables at once, so that no packet meets half of them; counters and everybody else's rules stay as they are.
for tables in iptables ip6tables iptables-legacy ip6tables-legacy; do
  command -v $tables-save > /dev/null || continue
  saved=$($tables-save --counters 2> /dev/null) || continue
  if printf '%s\n' "$saved" | grep --quiet --extended-regexp "$cluster_rules"; then
    kept=$(printf '%s\n' "$saved" | grep --invert-match --extended-regexp "$cluster_rules")
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

with_cluster_files rm --recursive --force
