# shellcheck shell=sh
# Asks containerd. crictl itself waits for two seconds, which is too short on a busy machine, above all for stopping a
# container; $containerd_seconds is how long to wait instead.

runtime() {
  crictl --runtime-endpoint unix:///run/containerd/containerd.sock --timeout "${containerd_seconds:-10}s" "$@"
}
