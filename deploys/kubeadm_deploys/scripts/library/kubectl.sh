# shellcheck shell=sh
# kubectl as the administrator. What it remembers of the cluster is not in root's home. facts/cluster_health.py has the
# same options.

# A script may set another file, and a limit in seconds for all of a command: each of several objects has one of its
# own.
kubeconfig=/etc/kubernetes/admin.conf
limit=

# For what watches the API until a limit of its own: a limit for each request would end the watch.
watch_api() {
  ${limit:+timeout "$limit"} kubectl --kubeconfig "$kubeconfig" --cache-dir /run/kubeadm-deploys-kubectl "$@"
}

# For requests that are answered at once: without a limit kubectl would wait for ever.
api() { watch_api --request-timeout=30s "$@"; }

# For a script that has waited in vain.
show_cluster() {
  api get nodes,pods --all-namespaces --output wide >&2
  exit 1
}

# An init that was killed may not have come as far as to give admin.conf its rights.
as_super_admin() {
  if [ -e /etc/kubernetes/super-admin.conf ]; then kubeconfig=/etc/kubernetes/super-admin.conf; fi
}
