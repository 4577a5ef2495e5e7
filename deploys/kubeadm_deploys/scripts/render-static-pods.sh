#!/bin/sh
# $1 the folder of the manifests, other arguments are names of static pods. stdin has kubeadm documents in base64, one a
# line. Prints each manifest as it is, and as kubeadm would write it with each document, in base64.
#
# kubeadm writes into a folder of ours. It would pass proxies of its environment on to the static pods.
set -eu
umask 077
unset NO_PROXY no_proxy
manifests=$1
shift
folder=$(mktemp -d /run/kubeadm-deploys-render.XXXXXX)
trap 'rm -rf "$folder"' EXIT
for name in "$@"; do
  if [ -s "$manifests/$name.yaml" ]; then echo "current:$name $(base64 --wrap 0 "$manifests/$name.yaml")"; fi
done
number=0
while read -r document; do
  printf %s "$document" | base64 --decode > "$folder/document"
  mkdir "$folder/$number"
  KUBEADM_INIT_DRYRUN_DIR="$folder/$number" kubeadm init phase control-plane all --dry-run \
    --config "$folder/document" > "$folder/log" 2>&1 || { tail -n 5 "$folder/log" >&2; exit 1; }
  for name in "$@"; do echo "$number:$name $(base64 --wrap 0 "$folder/$number/$name.yaml")"; done
  number=$((number + 1))
done
