#!/bin/sh
# Stops the API server of this control plane and what depends on it.
#
# The kubelet stops static pods gracefully when their manifests are gone: proxies and load balancers notice
# before etcd stops.
. library/containerd.sh
cd /etc/kubernetes/manifests || exit
rm --force kube-apiserver.yaml kube-controller-manager.yaml kube-scheduler.yaml
deadline=$(($(date +%s) + 90))
# Without an answer it may still run.
running() { ! containers=$(runtime ps --quiet --name '^kube-apiserver$' 2> /dev/null) || [ -n "$containers" ]; }
while running; do
  if [ "$(date +%s)" -gt "$deadline" ]; then
    echo "the API server still runs, or containerd does not answer, 90 s after its manifest was removed; check 'systemctl status kubelet containerd'" >&2
    exit 1
  fi
  sleep 1
done
