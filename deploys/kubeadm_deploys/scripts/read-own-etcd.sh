#!/bin/sh
# Prints what this machine's etcd member knows, also if it was started without a majority. The last lines are HTTP headers
# and the members as JSON.
#
# etcd answers its clients only when it has written once since its start, which needs a majority. Its metrics, and what it
# tells other members, are served before.
set -eu
cd /etc/kubernetes
url() { sed -n "s/^ *- --listen-$1-urls=\([^,]*\).*/\1/p" manifests/etcd.yaml; }
ask() { curl --silent --show-error --fail --noproxy '*' --max-time 5 --cacert pki/etcd/ca.crt "$@"; }
echo "peer $(url peer)"
metrics=$(ask --cert pki/etcd/server.crt --key pki/etcd/server.key "$(url metrics)/metrics")
for name in server_has_leader server_proposals_applied_total debugging_mvcc_current_revision; do
  printf '%s\n' "$metrics" | grep "^etcd_$name "
done
# etcd agrees to HTTP/2 on this port, and then closes a connection that is not gRPC.
ask --http1.1 --cert pki/etcd/peer.crt --key pki/etcd/peer.key --dump-header - "$(url peer)/members"
