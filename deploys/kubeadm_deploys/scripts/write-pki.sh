#!/bin/sh
# $1 the folder, other arguments are files; stdin has the output of read-pki. Nothing is written before all of
# it has arrived. Modes are kubeadm's.
set -eu
mkdir -p "$1/etcd"
cd "$1"
shift
umask 077
work=$(mktemp -d .kubeadm-deploys.XXXXXX)
trap 'rm -rf "$work"' EXIT
mkdir "$work/etcd"
for file in "$@"; do
  read -r name content && [ "$name" = "$file" ] && [ -n "$content" ] || {
    echo "$file of the cluster's keys did not arrive; none was written" >&2
    exit 1
  }
  base64 --decode > "$work/$file" <<CONTENT
$content
CONTENT
done
for file in "$@"; do
  case $file in *.key) ;; *) chmod 0644 "$work/$file" ;; esac
  mv --force "$work/$file" "$file"
done
