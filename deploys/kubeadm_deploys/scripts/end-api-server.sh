#!/bin/sh
# Ends the API server of a control plane whose etcd is about to come back; the kubelet restarts it at once.
#
# Without etcd, every request to it hangs, including the kubelet's own, which blocks the kubelet's work on
# static pods: etcd was only started after the API server's liveness probe had failed, which took 80 s and
# more, and the API server then waited as long again before it retried etcd.
. library/containerd.sh
set -eu
containerd_seconds=60
containers=$(runtime ps --quiet --name '^kube-apiserver$')
# shellcheck disable=SC2086 # IDs, one a word.
if [ -n "$containers" ]; then runtime stop --timeout 0 $containers > /dev/null; fi
