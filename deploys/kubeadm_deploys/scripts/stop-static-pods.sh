#!/bin/sh
# $1 the folder to which the manifests are moved, other arguments are names of static pods. Ends when none of them runs.
. library/containerd.sh
set -eu
folder=$1
shift
mkdir -p "$folder"
pods=
for name in "$@"; do
  if [ -e "/etc/kubernetes/manifests/$name.yaml" ]; then mv --force "/etc/kubernetes/manifests/$name.yaml" "$folder"; fi
  pods="$pods|$name"
done
sync "$folder"
pods="^(${pods#|})"
systemctl start containerd || { echo "containerd does not start, and only it can stop the pods: systemctl status containerd" >&2; exit 1; }
containerd_seconds=60
running() { runtime ps --quiet --name "$pods\$"; }
# The kubelet has seen by then that the manifests are gone. An API server with open watches ends only after 30 s.
if [ -n "$(running)" ]; then sleep 2; fi
deadline=$(($(date +%s) + 90))
while containers=$(running) && [ -n "$containers" ]; do
  if [ "$(date +%s)" -gt "$deadline" ]; then
    echo "pods of the control plane still run 90 s after their manifests were moved to $folder; check 'systemctl status kubelet'" >&2
    exit 1
  fi
  # A container that has ended meanwhile is an error. The loop asks what still runs, and the deadline reports it.
  # shellcheck disable=SC2086 # IDs, one a word.
  runtime stop --timeout 5 $containers > /dev/null 2>&1 || true
  sleep 1
done
# Without an answer they may still run.
containers=$(running)
[ -z "$containers" ]
# A kubelet that has not removed a pod yet waits for ten seconds before it starts the next one of that name.
deadline=$(($(date +%s) + 10))
while [ -n "$(runtime pods --quiet --state ready --name "$pods-")" ] && [ "$(date +%s)" -lt "$deadline" ]; do sleep 1; done
