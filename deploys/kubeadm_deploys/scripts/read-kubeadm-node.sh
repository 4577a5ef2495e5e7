#!/bin/sh
# $1 the unit in which kubeadm runs, $2 the folder of kept etcd data, $3 that of a restore, other arguments are names
# of static pods
. library/first-line.sh
unit=$1 saved=$2 restore=$3
shift 3
if [ -s /etc/machine-id ]; then first_line /etc/machine-id; echo "machine-id $line"; fi
for file in /etc/systemd/system/kubeadm-deploys-*.service; do
  if [ -e "$file" ]; then file=${file##*/}; echo "unit:${file%.service}"; fi
done
case $(systemctl is-active "$unit" 2>/dev/null) in active|activating|deactivating) echo kubeadm-runs ;; esac
if [ -d /var/lib/etcd/member ]; then echo 'have:etcd'; fi
if [ -d "$saved" ]; then echo 'saved-etcd'; fi
if [ -s "$restore/record" ]; then first_line "$restore/record"; echo "restoring $line"; fi
for manifest in "$@"; do
  if [ -s "$restore/manifests/$manifest.yaml" ]; then echo "aside:$manifest"; fi
done
if [ -e "$restore/unpacked" ]; then echo 'unpacked'; fi
for file in /etc/kubernetes/manifests/etcd.yaml "$restore/manifests/etcd.yaml"; do
  if [ -s "$file" ]; then echo "etcd-image $(sed -n '/^ *image: */{s///p;q}' "$file")"; break; fi
done
cd /etc/kubernetes 2>/dev/null || exit 0
for file in kubelet.conf bootstrap-kubelet.conf admin.conf super-admin.conf pki/ca.key pki/etcd/ca.crt; do
  if [ -e "$file" ]; then echo "have:$file"; fi
done
for manifest in "$@"; do
  if [ -s "manifests/$manifest.yaml" ]; then echo "have:manifests/$manifest.yaml"; fi
done
# kubeadm upgrade moves each manifest there before it puts the new one in, in this order: it was killed in
# between if the last manifest in its newest folder is missing here. Older folders are of upgrades that have
# ended.
newest=
# shellcheck disable=SC2012 # The names have no strange characters; swap-static-pod's folder has no time in its name.
if [ -d tmp ]; then newest=$(ls -dt tmp/kubeadm-backup-manifests*/ 2> /dev/null | head -n 1); fi
last=
for manifest in "$@"; do
  if [ -n "$newest" ] && [ -s "$newest$manifest.yaml" ]; then last=$manifest; fi
done
if [ -n "$last" ] && [ ! -s "manifests/$last.yaml" ]; then echo "backup:$last /etc/kubernetes/$newest$last.yaml"; fi
# renew-api-certificate.sh puts the key in first, and then the certificate.
new=pki/kubeadm-deploys-new
if [ -s "$new/apiserver.crt" ] && [ ! -e "$new/apiserver.key" ]; then echo 'half-certificate'; fi
if grep -qs kubelet-client-current.pem kubelet.conf; then echo 'rotating'; fi
if [ -f kubelet.conf ]; then echo "server $(sed -n '/^ *server: */{s///p;q}' kubelet.conf)"; fi
if [ -f admin.conf ]; then
  echo "cluster-name $(sed -n '/^  name: */{s///p;q}' admin.conf)"
  for key in certificate-authority-data client-certificate-data client-key-data; do
    value=$(sed -n "/^ *$key: */{s///p;q}" admin.conf)
    if [ -n "$value" ]; then
      value=$(printf %s "$value" | sha256sum)
      echo "admin:$key ${value%% *}"
    fi
  done
fi
if [ -f pki/ca.crt ]; then echo "ca $(base64 -w 0 pki/ca.crt)"; fi
client=/var/lib/kubelet/pki/kubelet-client-current.pem
if [ -f $client ]; then echo "client $(sed -n '/BEGIN CERT/,/END CERT/p; /END CERT/q' $client | base64 -w 0)"; fi
# Members that were restored from a backup and those of before have different cluster IDs. etcd answers this without
# a majority, too, but then it has no leader, and serves nothing.
if [ -e manifests/etcd.yaml ] && [ -e pki/etcd/server.key ]; then
  seen=$(curl --silent --noproxy '*' --max-time 3 --cacert pki/etcd/ca.crt --cert pki/etcd/server.crt \
    --key pki/etcd/server.key --data '{}' https://127.0.0.1:2379/v3/maintenance/status 2> /dev/null |
    grep '"leader": *"[1-9]' | sed -n 's/.*"cluster_id": *"\([0-9]*\)".*/\1/p')
  if [ -n "$seen" ]; then echo "etcd-cluster $seen"; fi
fi
# The API's health needs no credentials, and includes etcd. Each failed check is a line with [-].
if [ -e manifests/kube-apiserver.yaml ]; then
  seen=$(curl --insecure --silent --show-error --noproxy '*' --max-time 5 https://127.0.0.1:6443/readyz 2>&1)
  if [ "$seen" != ok ]; then
    reasons=$(printf %s "$seen" | sed -n 's/^\[-\]\([^ ]*\).*/\1/p' | tr '\n' ' ')
    seen="not ready: ${reasons:-$(printf %s "$seen" | tr '\n' ' ')}"
  fi
  echo "api $seen"
fi
