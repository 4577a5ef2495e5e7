#!/bin/sh
# $1 the time in seconds for each, other arguments are workloads of kube-system, like deployment/coredns
. library/kubectl.sh
seconds=$1
shift
for workload in "$@"; do
  if ! watch_api --namespace kube-system rollout status "--timeout=${seconds}s" "$workload"; then
    api --namespace kube-system logs "$workload" --all-containers --tail 5 >&2
    show_cluster
  fi
done
