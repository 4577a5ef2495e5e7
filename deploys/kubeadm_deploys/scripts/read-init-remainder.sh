#!/bin/sh
# Prints the names of the objects that the last phases of kubeadm init create and the cluster lacks.
. library/kubectl.sh
set -eu
as_super_admin
get() { api get --ignore-not-found --output name --namespace "$@"; }
system=$(get kube-system configmap/kubeadm-config deployment/coredns daemonset/kube-proxy)
public=$(get kube-public configmap/cluster-info)
for name in kubeadm-config cluster-info coredns kube-proxy; do
  case "$system $public" in *"/$name"*) ;; *) echo $name ;; esac
done
