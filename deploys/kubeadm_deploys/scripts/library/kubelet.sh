# shellcheck shell=sh
# Waits until the kubelet that was just restarted runs, and fails if it does not within $1 seconds.
#
# A kubelet that cannot start ends at once, and systemd restarts it every ten seconds. Its health may be turned off or
# answer elsewhere (healthzPort, healthzBindAddress): then a process that has lasted long enough runs. systemd goes on
# counting from before a restart of a unit that it was about to restart itself.
kubelet_runs() {
  port=$(sed -n 's/^healthzPort: *//p' /var/lib/kubelet/config.yaml 2> /dev/null)
  begun=$(date +%s) last=0 steady_since=0 ended=$(kubelet_property NRestarts)
  while [ $(($(date +%s) - begun)) -lt "$1" ]; do
    if [ $(($(kubelet_property NRestarts) - ${ended:-0})) -ge 2 ]; then return 1; fi
    now=$(kubelet_property MainPID)
    if [ "$now" = 0 ] || [ "$now" != "$last" ]; then last=$now steady_since=$(date +%s); fi
    steady=$(($(date +%s) - steady_since))
    health=$(curl --silent --noproxy '*' --max-time 5 "http://127.0.0.1:${port:-10248}/healthz")
    if [ "$now" != 0 ]; then
      if [ "$health" = ok ] && [ $steady -ge 2 ]; then return 0; fi
      if [ $steady -ge 25 ]; then return 0; fi
    fi
    sleep 0.5
  done
  return 1
}

kubelet_property() { systemctl show --property "$1" --value kubelet; }
