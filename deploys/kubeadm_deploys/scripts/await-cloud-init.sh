#!/bin/sh
# $1 the time in seconds, 0 not to wait, $2 the node's address, $3 the MAC of its interface, or nothing
#
# A machine that is already a node is past its provisioning: cloud-init's status is old there, and reading it
# takes half a second. Without a MAC there is nothing to wait for: then a wrong address is likelier than a
# late interface.
deadline=$(($(date +%s) + $1))
if command -v cloud-init > /dev/null && [ ! -e /etc/kubernetes/kubelet.conf ]; then
  if [ "$1" = 0 ]; then
    said=$(timeout 30 cloud-init status --long 2>&1 < /dev/null)
    status=$?
    # With --long it prints "status: error" and "extended_status: error - running" while it continues after an
    # error. What has not run when the machine is up, because its units are masked or disabled, never will.
    if printf '%s\n' "$said" | grep -qE '^(extended_)?status: (error - |degraded )?running$'; then
      status=124
    elif printf '%s\n' "$said" | grep -qE '^(extended_)?status: (error - )?not (run|started)$'; then
      case $(systemctl is-system-running 2> /dev/null) in running|degraded) ;; *) status=124 ;; esac
    fi
  else
    said=$(timeout "$1" cloud-init status --wait --long 2>&1 < /dev/null)
    status=$?
  fi
  echo "cloud_init $status"
  echo "cloud_init_said $(printf %s "$said" | base64 -w 0)"
fi
echo "hostname $(hostname)"
found() {
  for name in $(ip -oneline -4 address show up to "$2" | awk '{print $2}'); do
    if [ "$(cat "/sys/class/net/$name/operstate")" = down ]; then continue; fi
    if [ -z "$3" ] || [ "$(cat "/sys/class/net/$name/address")" = "$3" ]; then echo "$name"; return 0; fi
  done
  return 1
}
until interface=$(found "$@") || [ -z "$3" ] || [ "$(date +%s)" -ge "$deadline" ]; do sleep 1; done
if [ -n "$interface" ]; then
  echo "interface $interface"
else
  echo "seen $(ip -json address show | tr -d '\n')"
fi
if [ -e /etc/kubernetes/kubelet.conf ] && [ -f /var/lib/kubelet/kubeadm-flags.env ]; then
  echo "kubelet_flags $(tr '\n' ' ' < /var/lib/kubelet/kubeadm-flags.env)"
fi
