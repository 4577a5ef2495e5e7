#!/bin/sh
# $1 the Go template that prints the nodes, $2 the one that prints the Secrets of our tokens
. library/kubectl.sh
. library/etcdctl.sh
set -eu
as_super_admin
# Serializable: only this member is asked, so it also answers without a majority.
members=$(etcdctl member list --consistency=s --write-out=json)
nodes=$(api get nodes --output "go-template=$1")
tokens=$(api --namespace kube-system get secrets --field-selector type=bootstrap.kubernetes.io/token \
  --output "go-template=$2")
printf '%s\n' "etcd $members" "$nodes" "$tokens"
