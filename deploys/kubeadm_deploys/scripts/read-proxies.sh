#!/bin/sh
# Arguments are the files whose checksums are printed, and which of them others than root can read.
#
# The mark in containerd's environment says with which proxies it runs. Another containerd than ours does not
# count: it is replaced later.
. library/print-files.sh
pid=$(systemctl show containerd.service --property=MainPID --value 2> /dev/null)
case $(readlink "/proc/${pid:-0}/exe") in
  /usr/local/bin/containerd*)
    echo "running $(tr '\0' '\n' < "/proc/$pid/environ" | sed -n 's/^KUBEADM_DEPLOYS_PROXIES=//p')" ;;
esac
for path in "$@"; do
  case $(stat --format %A "$path" 2> /dev/null) in ''|-???------) ;; *) echo "readable:$path" ;; esac
done
print_files "$@"
