#!/bin/sh
# $1 the unit in which kubeadm runs, other arguments kubeadm's own; its document is on stdin
#
# kubeadm is at work in a unit of its own, which outlives the connection of whoever started it: a machine on which it
# was cut off in the middle is the worst of all. The document goes to it on its stdin, since it may hold a token, and
# through a pipe, since /dev/stdin of a socket cannot be opened. Its output waits in a file, because a program that
# writes to a connection which has ended is killed; kubeadm prints the bootstrap token among its progress messages,
# and a log must not hold it. kubeadm hands the proxies of its environment on to the static pods.
unit=$1
shift
set -u
output=/run/kubeadm-deploys-kubeadm.log
document=$(cat)
proxies=
for name in HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do
  eval "value=\${$name-}"
  if [ -n "$value" ]; then proxies="$proxies --setenv=$name"; fi
done
# shellcheck disable=SC2086,SC2016 # Words of options; the unit's shell has the others from its own arguments.
printf '%s\n' "$document" | systemd-run --quiet --collect --wait --pipe --unit="$unit" --setenv=PATH="$PATH" \
  $proxies sh -c 'umask 077; log=$1; shift; exec kubeadm "$@" --config /dev/stdin > "$log" 2>&1' kubeadm "$output" "$@"
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
