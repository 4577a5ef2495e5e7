#!/bin/sh
# Makes the API server's certificate anew; kubeadm's documents are on stdin, with $1 as the folder of certificates.
#
# kubeadm keeps a certificate that exists, so it makes the new one in a folder of its own. The API server notices the new
# pair and serves it without a restart; it keeps the old one while key and certificate do not match.
set -eu
umask 077
folder=$1
pki=/etc/kubernetes/pki
trap 'rm -rf "$folder"' EXIT
rm -rf "$folder"
mkdir -p "$folder"
cp "$pki/ca.crt" "$pki/ca.key" "$folder/"
cat > "$folder/documents"
kubeadm init phase certs apiserver --config "$folder/documents" > "$folder/log" 2>&1 || { tail -n 5 "$folder/log" >&2; exit 1; }
chmod 0644 "$folder/apiserver.crt"
for file in apiserver.key apiserver.crt; do mv --force "$folder/$file" "$pki/$file.kubeadm-deploys"; done
sync
mv --force "$pki/apiserver.key.kubeadm-deploys" "$pki/apiserver.key"
mv --force "$pki/apiserver.crt.kubeadm-deploys" "$pki/apiserver.crt"
sync
