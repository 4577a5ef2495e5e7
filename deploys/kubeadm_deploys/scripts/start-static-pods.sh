#!/bin/sh
# $1 the folder to which the manifests were moved, other arguments are names of static pods. Without etcd's data nothing
# is started: etcd would make an empty cluster. A manifest that is in place is that of a kubeadm init after which the run
# was killed; the machine was cleaned before it, and the one that was moved is of before.
#
# Only a kubelet that is restarted forgets how often a pod has failed. While etcd had no majority or wrong data, the API
# server or etcd failed again and again, and the kubelet would wait for up to five minutes before it starts them.
set -eu
folder=$1
shift
if [ ! -d /var/lib/etcd/member ]; then echo "there is no etcd data in /var/lib/etcd; nothing was started" >&2; exit 1; fi
for name in "$@"; do
  if [ -e "$folder/$name.yaml" ] && [ ! -e "/etc/kubernetes/manifests/$name.yaml" ]; then
    mv --force "$folder/$name.yaml" /etc/kubernetes/manifests/
  fi
done
sync /etc/kubernetes/manifests
systemctl restart kubelet
