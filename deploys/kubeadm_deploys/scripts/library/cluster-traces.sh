# shellcheck shell=sh
# What a cluster leaves on a machine, made by kubeadm, the kubelet, kube-proxy, Calico and this project.

# Mounts are listed by real paths, and the folder may be a link to another disk.
kubelet_folder=$(readlink -f /var/lib/kubelet || echo /var/lib/kubelet)

# Prints the network interfaces of the cluster, one per line, by the names that Calico and kube-proxy give
# them. The IPIP tunnel belongs to the kernel module.
cluster_interfaces() {
  for interface in /sys/class/net/*; do echo "${interface##*/}"; done |
    grep --extended-regexp '^(cali[0-9a-f]{8,}|vxlan(-v6)?\.calico|wireguard\.cali|wg-v6\.cali|kube-ipvs0)$'
}

# Prints the mounts of pods and of Calico, the innermost first; /var/lib/kubelet may be a disk of its own.
# systemd mounts /sys/fs/bpf with nosuid. If it does not, as in containers, Calico mounts it without options.
# The kernel keeps two files there, whose names end with debug.
cluster_mounts() {
  {
    # Not grep, which fails if it finds nothing and would end a script with set -e.
    cut -d ' ' -f 2 /proc/mounts |
      sed -n -E "\\#^(($kubelet_folder|/run/calico|/var/run/calico)/.|/run/netns/cni-)#p"
    if grep --quiet ' /sys/fs/bpf bpf rw,relatime ' /proc/mounts && [ -z "$(files_in_bpf)" ]; then echo /sys/fs/bpf; fi
  } | sort --reverse
}

# Prints the mounts at these paths and below them.
mounts_within() {
  printf '%s\n' "$@" | awk '
    NR == FNR {paths[$0]; next}
    {for (path in paths) if ($2 == path || index($2, path "/") == 1) print $2}' - /proc/mounts
}

files_in_bpf() { find /sys/fs/bpf -mindepth 1 -maxdepth 1 ! -name '*.debug'; }

# Matches every iptables line of kube-proxy, the kubelet and Calico, and no line of others.
cluster_rules='(KUBE-|[: ]cali-|cali:)'

# Runs a command with the paths that only a cluster has after its arguments. Of etcd's folder that is only
# what kubeadm's etcd has there, because another etcd may use it too. Of the kubelet's folder it is everything
# except the folder and the file by which the package keeps it.
with_cluster_files() {
  for file in admin.conf super-admin.conf kubelet.conf bootstrap-kubelet.conf controller-manager.conf scheduler.conf \
    pki tmp; do
    set -- "$@" "/etc/kubernetes/$file"
  done
  "$@" /etc/kubernetes/manifests/* /var/lib/etcd/member /var/lib/etcd/kubeadm-deploys-backup "$kubelet_folder"/* \
    /var/lib/cni /var/lib/calico /var/log/calico /var/log/pods/* /var/log/containers/* /run/calico /run/nodeagent \
    /run/flannel \
    /etc/cni/net.d/*calico* /opt/cni/bin/calico /opt/cni/bin/calico-ipam /run/kubeadm-deploys-kubectl \
    /run/kubeadm-deploys-restart-clients \
    /etc/kubernetes/kubeadm-deploys-kubelet.conf.d/fields.conf* /etc/systemd/system/kubelet.service.d/20-kubeadm-deploys.conf \
    /usr/libexec/kubernetes/kubelet-plugins/volume/exec/nodeagent~uds
}
