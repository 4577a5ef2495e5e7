#!/bin/sh
# $1 the time in seconds, other arguments are names of nodes
. library/kubectl.sh
seconds=$1
shift
for node in "$@"; do
  set -- "$@" "node/$node"
  shift
done
watch_api wait --for=condition=Ready "--timeout=${seconds}s" "$@" || show_cluster
