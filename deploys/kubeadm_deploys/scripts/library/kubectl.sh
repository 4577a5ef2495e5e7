# shellcheck shell=sh
# kubectl as the administrator, for requests that are answered at once: without a limit it would wait for ever. What
# it remembers of the cluster is not in root's home. facts/cluster_health.py has the same options.

# A script may set another file, and a limit in seconds for all of a command: each of several objects has one of its
# own.
kubeconfig=/etc/kubernetes/admin.conf
limit=

api() {
  ${limit:+timeout "$limit"} kubectl --kubeconfig "$kubeconfig" --cache-dir /run/kubeadm-deploys-kubectl \
    --request-timeout=30s "$@"
}

# An init that was killed may not have come as far as to give admin.conf its rights.
as_super_admin() {
  if [ -e /etc/kubernetes/super-admin.conf ]; then kubeconfig=/etc/kubernetes/super-admin.conf; fi
}
