# shellcheck shell=sh
# Runs etcdctl of this control plane's etcd. kubeadm mounts its certificates into etcd's container at the same
# paths.

. library/containerd.sh

in_etcd() {
  # shellcheck disable=SC2046 # Without a container the ID is left out; an empty ID would match any container.
  runtime exec $(runtime ps --quiet --latest --name '^etcd$' 2> /dev/null) "$@"
}

etcdctl() {
  in_etcd etcdctl \
    --endpoints https://127.0.0.1:2379 --cacert /etc/kubernetes/pki/etcd/ca.crt \
    --cert /etc/kubernetes/pki/etcd/server.crt --key /etc/kubernetes/pki/etcd/server.key "$@"
}
