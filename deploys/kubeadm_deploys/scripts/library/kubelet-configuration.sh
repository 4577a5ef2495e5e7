# shellcheck shell=sh
# shellcheck disable=SC2034 # The scripts use them.
# What exchanges one file of a kubelet's configuration. While that goes on, $old is the file from before, and $state names the
# files that neither the old nor the new kubelet may find.
exchange_of() { file=$1 old=$1.kubeadm-deploys-old state=$1.kubeadm-deploys-state; }

# $1 the configuration, other arguments are files that its kubelet must not find. They go before the configuration: a kubelet
# that a power cut ends in between makes them again and runs.
put_in() {
  new=$1
  shift
  if [ $# -gt 0 ]; then systemctl stop kubelet && rm -f "$@" || return 1; fi
  # Its unit may have got a drop-in that systemd has not read yet.
  sync "$new" && mv --force "$new" "$file" && systemctl daemon-reload && systemctl restart kubelet
}

# $1 since when, in seconds since 1970.
say_what_failed() {
  journalctl --unit kubelet --since "@$1" --no-pager --output cat | grep -i -E 'err|fail' | tail -n 4 | cut -c 1-300
}
