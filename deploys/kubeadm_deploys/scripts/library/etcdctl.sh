# shellcheck shell=sh
# etcdctl of the etcd that runs on this control plane. kubeadm mounts its certificates into etcd's container at the
# same paths.

runtime() { crictl --runtime-endpoint unix:///run/containerd/containerd.sock "$@"; }

etcdctl() {
  # shellcheck disable=SC2046 # Without a container the ID is missing; an empty one would be the beginning of any.
  runtime exec $(runtime ps --quiet --latest --name '^etcd$' 2> /dev/null) etcdctl \
    --endpoints https://127.0.0.1:2379 --cacert /etc/kubernetes/pki/etcd/ca.crt \
    --cert /etc/kubernetes/pki/etcd/server.crt --key /etc/kubernetes/pki/etcd/server.key "$@"
}
