#!/bin/sh
# Makes the API server's certificate anew, with $1 as the folder of certificates. stdin has kubeadm's documents in
# base64, then a line "end".
#
# kubeadm keeps a certificate that exists, so it makes the new one in a folder of its own. The API server notices the new
# pair and serves it without a restart; it keeps the old one while key and certificate do not match.
set -eu
umask 077
folder=$1
pki=/etc/kubernetes/pki
pair=$pki/kubeadm-deploys-new
read -r documents
read -r complete || complete=
if [ "$complete" != end ]; then echo "the documents did not arrive; nothing was changed" >&2; exit 1; fi
trap 'rm -rf "$folder" "$pair"' EXIT
# A shell that a signal ends does not run its EXIT trap, and a copy of the CA's key would stay.
trap 'exit 1' HUP INT PIPE TERM
rm -rf "$folder" "$pair"
mkdir -p "$folder" "$pair"
cp "$pki/ca.crt" "$pki/ca.key" "$folder/"
printf %s "$documents" | base64 --decode > "$folder/documents"
kubeadm init phase certs apiserver --config "$folder/documents" > "$folder/log" 2>&1 || { tail -n 5 "$folder/log" >&2; exit 1; }
chmod 0644 "$folder/apiserver.crt"
mv --force "$folder/apiserver.key" "$folder/apiserver.crt" "$pair/"
sync
# An API server does not start with a key and a certificate that do not match: nothing may come between the two renames.
trap '' HUP INT PIPE TERM
mv --force "$pair/apiserver.key" "$pair/apiserver.crt" "$pki/"
sync
