#!/bin/sh
# $1 the ConfigMap of our record, other arguments are names of static pods. Prints kubeadm's ConfigMaps and the
# manifests, which contain no secrets.
. library/kubectl.sh
set -eu
record=$1
shift
limit=40
objects=$(api --namespace kube-system get configmap/kubeadm-config configmap/kubelet-config configmap/kube-proxy \
  "configmap/$record" --ignore-not-found --output json)
echo "objects $(printf %s "$objects" | base64 --wrap 0)"
for name in "$@"; do
  content=$(base64 --wrap 0 "/etc/kubernetes/manifests/$name.yaml")
  echo "manifest:$name $content"
done
