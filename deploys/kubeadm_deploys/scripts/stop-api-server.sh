#!/bin/sh
# Stops the API server of this control plane and what depends on it.
#
# The kubelet stops the programs of manifests that are gone, gracefully: proxies and load balancers notice before etcd
# goes.
cd /etc/kubernetes/manifests || exit
rm --force kube-apiserver.yaml kube-controller-manager.yaml kube-scheduler.yaml
deadline=$(($(date +%s) + 90))
crictl() { command crictl --runtime-endpoint unix:///run/containerd/containerd.sock "$@" 2> /dev/null; }
while [ -n "$(crictl ps --quiet --name '^kube-apiserver$')" ]; do
  if [ "$(date +%s)" -gt "$deadline" ]; then
    echo "the API server still runs 90 s after its manifest is gone: systemctl status kubelet" >&2
    exit 1
  fi
  sleep 1
done
