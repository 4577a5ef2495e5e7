# shellcheck shell=sh
# What a cluster leaves on a machine: what kubeadm, the kubelet, kube-proxy, Calico and this project made there.

# Prints the network interfaces of the cluster, one a line, by the names that Calico and kube-proxy give them. The
# tunnel of IPIP belongs to the kernel module.
cluster_interfaces() {
  for interface in /sys/class/net/*; do echo "${interface##*/}"; done |
    grep --extended-regexp '^(cali[0-9a-f]{8,}|vxlan(-v6)?\.calico|wireguard\.cali|wg-v6\.cali|kube-ipvs0)$'
}

# Prints the mounts of pods and of Calico, the innermost first; /var/lib/kubelet itself may be a disk of its own.
# systemd mounts /sys/fs/bpf with nosuid; where it does not, as in containers, Calico does, without options. The
# kernel keeps two files in it, whose names end with debug.
cluster_mounts() {
  {
    # Not grep, which fails when it finds nothing: that would end a script that ends with what fails.
    cut -d ' ' -f 2 /proc/mounts |
      sed -n -E '\#^((/var/lib/kubelet|/run/calico|/var/run/calico)/.|/run/netns/cni-)#p'
    if grep --quiet ' /sys/fs/bpf bpf rw,relatime ' /proc/mounts && [ -z "$(files_in_bpf)" ]; then echo /sys/fs/bpf; fi
  } | sort --reverse
}

files_in_bpf() { find /sys/fs/bpf -mindepth 1 -maxdepth 1 ! -name '*.debug'; }

# What stands in every iptables line of kube-proxy, the kubelet and Calico, and in nobody else's.
cluster_rules='(KUBE-|[: ]cali-|cali:)'

# Runs a command with the paths that only a cluster has behind its arguments. Of etcd's folder only what kubeadm's
# etcd has there: another one may be there too. Of /var/lib/kubelet all but the folder and the file by which the
# package keeps it.
with_cluster_files() {
  for file in admin.conf super-admin.conf kubelet.conf bootstrap-kubelet.conf controller-manager.conf scheduler.conf \
    pki tmp; do
    set -- "$@" "/etc/kubernetes/$file"
  done
  "$@" /etc/kubernetes/manifests/* /var/lib/etcd/member /var/lib/kubelet/* /var/lib/cni /var/lib/calico \
    /var/log/calico /var/log/pods/* /var/log/containers/* /run/calico /run/nodeagent /run/flannel \
    /etc/cni/net.d/*calico* /opt/cni/bin/calico /opt/cni/bin/calico-ipam /run/kubeadm-deploys-kubectl \
    /usr/libexec/kubernetes/kubelet-plugins/volume/exec/nodeagent~uds
}
