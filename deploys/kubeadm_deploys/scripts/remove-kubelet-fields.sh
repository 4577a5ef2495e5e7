#!/bin/sh
# $1 systemd's drop-in that gives the kubelet a folder of configuration files, $2 our file in that folder. The kubelet runs
# without fields of that file, and goes on.
#
# The folder is last: until systemd has read its files again, it would start a kubelet that wants the folder.
set -eu
rm --force "$1"
systemctl daemon-reload
rm --force "$2" "$2".kubeadm-deploys*
for path in "$@"; do
  folder=$(dirname "$path")
  if [ -d "$folder" ]; then rmdir --ignore-fail-on-non-empty "$folder"; fi
done
