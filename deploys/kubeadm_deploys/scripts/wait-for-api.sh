#!/bin/sh
# $1 the API's host and port
#
# The API's health needs no credentials; kubeadm checks its certificate against the CA's hash.
deadline=$(($(date +%s) + 120))
until seen=$(curl --insecure --silent --show-error --noproxy '*' --max-time 5 "https://$1/readyz" 2>&1) && [ "$seen" = ok ]; do
  if [ "$(date +%s)" -gt "$deadline" ]; then
    echo "the API server at https://$1 is not ready as seen from here: ${seen:-no answer}" >&2
    exit 1
  fi
  sleep 1
done
