# shellcheck shell=sh

# Runs a command that downloads, with the proxies of the options, if there are any; sections/machine_proxies.py writes
# their file.
with_proxies() {
  (
    if [ -e /etc/kubeadm-deploys/proxies.env ]; then
      set -a
      # shellcheck source=/dev/null
      . /etc/kubeadm-deploys/proxies.env
    fi
    exec "$@"
  )
}
