#!/bin/sh
# Prints what the last phases of kubeadm init create and the cluster lacks. kubeadm may be killed within a phase, so
# the object that a phase creates last counts too.
. library/kubectl.sh
set -eu
as_super_admin
get() { api get --ignore-not-found --output name --namespace "$@"; }
rbac=rolebinding.rbac.authorization.k8s.io
readers=$rbac/kubeadm:bootstrap-signer-clusterinfo
system=$(get kube-system configmap/kubeadm-config deployment.apps/coredns service/kube-dns daemonset.apps/kube-proxy \
  $rbac/kube-proxy)
public=$(get kube-public configmap/cluster-info $readers)
has() {
  for object in "$@"; do
    printf '%s\n' "$system" "$public" | grep --quiet --line-regexp --fixed-strings "$object" || return 1
  done
}
# kubeadm's documentation deletes this binding to hide cluster-info from strangers. So without it init was interrupted
# only if no later phase has begun; the next one, kubelet-finalize, changes kubelet.conf.
has_later_phase() {
  has deployment.apps/coredns || has daemonset.apps/kube-proxy ||
    grep --quiet --no-messages kubelet-client-current.pem /etc/kubernetes/kubelet.conf
}
has configmap/kubeadm-config || echo kubeadm-config
has configmap/cluster-info && { has $readers || has_later_phase; } || echo cluster-info
has deployment.apps/coredns service/kube-dns || echo coredns
has daemonset.apps/kube-proxy $rbac/kube-proxy || echo kube-proxy
