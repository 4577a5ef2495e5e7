#!/bin/sh
# $1 the time in seconds, $2 the template that prints a line for each node: the taint, if the node has it, and
# its name
. library/kubectl.sh
set -eu
deadline=$(($(date +%s) + $1))
while true; do
  nodes=$(api get nodes --output "jsonpath=$2")
  waiting=$(printf '%s\n' "$nodes" | awk 'NF == 2 {print $2}')
  if [ -z "$waiting" ] && [ -z "$(api --namespace kube-system get pods --selector k8s-app=kube-dns \
    --field-selector spec.nodeName= --output name)" ]; then exit 0; fi
  [ "$(date +%s)" -lt "$deadline" ] || break
  sleep 1
done
[ -n "$waiting" ] || exit 0
{
  # shellcheck disable=SC2086 # They belong on one line.
  echo "Hetzner's cloud controller has not initialised these nodes within $1 seconds:" $waiting
  echo "It finds a node's server by the node's name, in the project of the token in the secret hcloud:"
  echo "is the server called like the node, and is HCLOUD_TOKEN of the project that it is in?"
  api --namespace kube-system get pods --selector app=hcloud-cloud-controller-manager --output wide
  api --namespace kube-system logs deployment/hcloud-cloud-controller-manager --tail 15
} >&2
exit 1
