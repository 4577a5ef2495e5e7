#!/bin/sh
# $1... our own units
#
# A program that is missing or hangs does not stop the others. Of long outputs the end is kept. Only ASCII is
# printed: a cut may have split a character, and pyinfra reads only UTF-8. So programs run in the C locale.
export LC_ALL=C SYSTEMD_PAGER='' SYSTEMD_COLORS=0
export CONTAINER_RUNTIME_ENDPOINT=unix:///run/containerd/containerd.sock
show() { printf '\n$ %s\n' "$*"; timeout 10 "$@" 2>&1 < /dev/null | tail --bytes 30000; }
show_api() {
  show kubectl --kubeconfig /etc/kubernetes/admin.conf --cache-dir /run/kubeadm-deploys-kubectl --request-timeout 8s "$@"
}
{
show uname --all
show head --lines 4 /etc/os-release
show date --utc
show uptime
show df --human-readable --exclude-type overlay --exclude-type tmpfs
show free --mebi
show swapon --show
show kubeadm version --output short
show kubelet --version
show containerd --version
show runc --version
show crictl --version
show apt-mark showhold
show dpkg --audit
show ip address
show ip route
show ss --listening --tcp --numeric --processes
show cat /etc/hosts /etc/resolv.conf
show find /etc/kubernetes -printf '%M %u %s %TY-%Tm-%Td %TH:%TM %p\n'

show systemctl --failed --no-legend
for unit in containerd kubelet "$@"; do
  show systemctl status --lines 0 "$unit"
  show journalctl --unit "$unit" --lines 100 --output short-iso
done
show sh -c 'dmesg | tail --lines 30'

show crictl --timeout 5s ps --all
for name in etcd kube-apiserver; do
  last=$(timeout 10 crictl --timeout 5s ps --all --quiet --name "^$name\$" 2> /dev/null | head --lines 1)
  if [ -n "$last" ]; then show crictl --timeout 5s logs --tail 40 "$last"; fi
done
if [ -e /etc/kubernetes/admin.conf ]; then
  show_api get nodes,pods --all-namespaces --output wide
  show_api get events --all-namespaces --sort-by .lastTimestamp
fi
} | tr --complement --delete '\11\12\40-\176'
