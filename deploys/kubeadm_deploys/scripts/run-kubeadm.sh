#!/bin/sh
# $1 the unit in which kubeadm runs, other arguments are kubeadm's own; its document is on stdin, an empty line if
# it gets none
#
# kubeadm runs in a unit of its own, which survives the connection that started it: kubeadm must not be cut
# off halfway. The document goes to its stdin, because it may hold a token, and through a pipe, because
# /dev/stdin of a socket cannot be opened. Its output goes to a file, because a program that writes to a
# closed connection is killed. kubeadm prints the bootstrap token among its progress messages, and a log must
# not hold it. kubeadm would pass proxies of its environment on to the static pods and kube-proxy, which only talk
# to the cluster; systemd may have them as its DefaultEnvironment.
unit=$1
shift
set -u
output=/run/kubeadm-deploys-kubeadm.log
# Otherwise it is the whole command, with line breaks, which systemd cannot read again.
description="kubeadm $1 (kubeadm-deploys)"
document=$(cat)
# With a document, kubeadm refuses some of its own arguments.
if [ -n "$document" ]; then set -- "$@" --config /dev/stdin; fi
# shellcheck disable=SC2016 # The unit's shell expands them from its own arguments.
printf '%s\n' "$document" | systemd-run --quiet --collect --wait --pipe --unit="$unit" \
  --description="$description" --setenv=PATH="$PATH" \
  sh -c 'unset HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY http_proxy https_proxy no_proxy all_proxy
  umask 077; log=$1; shift; exec kubeadm "$@" > "$log" 2>&1' kubeadm "$output" "$@"
status=$?
if [ -e "$output" ]; then
  sed -E 's/[a-z0-9]{6}\.[a-z0-9]{16}/<token>/g' "$output"
  rm "$output"
fi
if [ $status -ne 0 ]; then
  echo "kubeadm $1 failed; what the kubelet said last:" >&2
  journalctl --unit kubelet --lines 15 --no-pager --output cat >&2
fi
exit $status
