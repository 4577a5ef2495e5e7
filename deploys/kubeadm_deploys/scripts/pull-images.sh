#!/bin/sh
# $1 the unit that pulls, other arguments images. A unit of an earlier run that still pulls is as good as a new one.
unit=$1
shift
# shellcheck disable=SC2016 # The unit's shell has them from its own arguments.
systemctl is-active --quiet "$unit" || systemd-run --quiet --collect --unit="$unit" sh -c '
  for image in "$@"; do
    /usr/local/bin/ctr --namespace k8s.io images pull --hosts-dir /etc/containerd/certs.d "$image" &
  done
  wait' pull-images "$@"
