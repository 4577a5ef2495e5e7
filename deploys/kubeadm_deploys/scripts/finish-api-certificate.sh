#!/bin/sh
# Puts in the API server's new certificate, whose key is in already: renew-api-certificate.sh was cut off between the two.
#
# No API server starts with such a pair. The kubelet waits up to five minutes before it starts a container again that has
# failed, but a new kubelet starts it at once.
set -eu
pki=/etc/kubernetes/pki
mv --force "$pki/kubeadm-deploys-new/apiserver.crt" "$pki/"
sync
rm -rf "$pki/kubeadm-deploys-new"
systemctl restart kubelet
