#!/bin/sh
# Restarts the pods that reach the API by the endpoint's name. $1 a file that is removed when that is done.
#
# A pod on the node's network keeps the /etc/hosts with which its container was started. What these pods have
# set up in the kernel keeps working while the kubelet restarts them.
. library/containerd.sh
set -eu
containerd_seconds=60
containers=$(runtime ps --quiet --name '^(calico-node|kube-proxy|hcloud-cloud-controller-manager)$')
# shellcheck disable=SC2086 # IDs, one a word.
if [ -n "$containers" ]; then runtime stop $containers > /dev/null; fi
rm --force "$1"
