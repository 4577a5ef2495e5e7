#!/bin/sh
# $1 the unit that pulls, other arguments are images. If the unit of an earlier run still pulls, no new one is
# started. Before containerd 2, ctr itself pulls, so it gets the proxies too.
unit=$1
shift
# shellcheck disable=SC2016 # The unit's shell expands them from its own arguments.
systemctl is-active --quiet "$unit" || systemd-run --quiet --collect --unit="$unit" --description="pull images (kubeadm-deploys)" \
  --property=EnvironmentFile=-/etc/kubeadm-deploys/proxies.env sh -c '
  for image in "$@"; do
    /usr/local/bin/ctr --namespace k8s.io images pull --hosts-dir /etc/containerd/certs.d "$image" &
  done
  wait' pull-images "$@"
