# shellcheck shell=sh
# shellcheck disable=SC2034 # The scripts use them.
# What exchanges a kubelet's configuration. While that goes on, $old is the configuration from before, and $state names the
# files that neither the old nor the new one may find.
file=/var/lib/kubelet/config.yaml
old=$file.kubeadm-deploys-old
state=$file.kubeadm-deploys-state

# $1 the configuration, other arguments are files that its kubelet must not find. They go before the configuration: a kubelet
# that a power cut ends in between makes them again and runs.
put_in() {
  new=$1
  shift
  if [ $# -gt 0 ]; then systemctl stop kubelet && rm -f "$@" || return 1; fi
  sync "$new" && mv --force "$new" "$file" && systemctl restart kubelet
}

# $1 seconds. A kubelet that cannot use its configuration ends at once, again and again. It has no health if that is turned
# off.
runs() {
  begun=$(date +%s) last=0 steady_since=0
  while [ $(($(date +%s) - begun)) -lt "$1" ]; do
    if [ "$(systemctl show --property NRestarts --value kubelet)" -ge 2 ]; then return 1; fi
    now=$(systemctl show --property MainPID --value kubelet)
    if [ "$now" = 0 ] || [ "$now" != "$last" ]; then last=$now steady_since=$(date +%s); fi
    steady=$(($(date +%s) - steady_since))
    health=$(curl --silent --noproxy '*' --max-time 5 http://127.0.0.1:10248/healthz)
    if [ "$now" != 0 ]; then
      if [ "$health" = ok ] && [ $steady -ge 2 ]; then return 0; fi
      if [ $steady -ge 25 ]; then return 0; fi
    fi
    sleep 0.5
  done
  return 1
}

# $1 since when, in seconds since 1970.
say_what_failed() {
  journalctl --unit kubelet --since "@$1" --no-pager --output cat | grep -i -E 'err|fail' | tail -n 4 | cut -c 1-300
}
