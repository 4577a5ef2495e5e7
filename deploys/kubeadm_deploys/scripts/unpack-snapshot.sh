#!/bin/sh
# $1 the folder of the restore, $2 the folder with the snapshot, $3 the folder where the data of before is kept, $4 etcd's
# image, $5 the member's name, $6 its peer URL, $7 the token of the new cluster, $8 by how much the revisions are raised, $9
# another option of etcdutl if need be.
# Makes the snapshot this machine's data.
#
# The folder "ready" in $2 is the whole new data, which is then renamed into place: as long as it exists, the data in
# place is that of before, and afterwards it never is. The new revisions are far above all that clients may have seen.
. library/containerd.sh
. library/unpacking.sh
set -eu
umask 077
folder=$1 work=$2 saved=$3 image=$4 name=$5 peer=$6 token=$7 bump=$8 option=${9:-}
if [ -e "$folder/unpacked" ] && [ ! -e "$work/ready" ]; then
  rm -rf "$work"
  exit 0
fi
pods() { ctr --namespace k8s.io "$@"; }
if [ ! -e "$work/ready" ]; then
  end_unpacking "$work"
  mkdir "$work/unpacking"
  if [ -z "$(pods images list --quiet "name==$image")" ]; then
    containerd_seconds=600
    runtime pull "$image" > /dev/null || { echo "the image $image cannot be pulled" >&2; exit 1; }
  fi
  pods run --rm --mount "type=bind,src=$work,dst=/restore,options=rbind:rw" "$image" kubeadm-deploys-restore \
    etcdutl snapshot restore /restore/etcd.db --data-dir /restore/unpacking/data --name "$name" \
    --initial-cluster "$name=$peer" --initial-advertise-peer-urls "$peer" --initial-cluster-token "$token" \
    --bump-revision "$bump" --mark-compacted ${option:+"$option"} > "$work/log" 2>&1 || { tail -n 3 "$work/log" >&2; exit 1; }
  sync
  mv "$work/unpacking/data/member" "$work/ready"
fi
touch "$folder/unpacked"
sync "$work" "$folder"
if [ -e /var/lib/etcd/member ]; then
  while [ -e "$saved/member" ]; do saved="$saved-again"; done
  mkdir -p "$saved"
  mv /var/lib/etcd/member "$saved/member"
fi
mv "$work/ready" /var/lib/etcd/member
sync /var/lib/etcd
rm -rf "$work"
