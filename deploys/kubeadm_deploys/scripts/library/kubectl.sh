# shellcheck shell=sh
# kubectl as the administrator. Its cache is not in root's home. facts/cluster_health.py has the same options.

# A script may set another file, and a limit in seconds for a whole command: kubectl's own limit counts for
# each object.
kubeconfig=/etc/kubernetes/admin.conf
limit=

# For commands that watch the API with a limit of their own: a limit for each request would end the watch.
watch_api() {
  ${limit:+timeout "$limit"} kubectl --kubeconfig "$kubeconfig" --cache-dir /run/kubeadm-deploys-kubectl "$@"
}

# For requests that are answered at once: without a limit kubectl would wait forever.
api() { watch_api --request-timeout=30s "$@"; }

# For a script whose wait timed out.
show_cluster() {
  api get nodes,pods --all-namespaces --output wide >&2
  exit 1
}

# An init that was killed may not have given admin.conf its rights yet.
as_super_admin() {
  if [ -e /etc/kubernetes/super-admin.conf ]; then kubeconfig=/etc/kubernetes/super-admin.conf; fi
}
