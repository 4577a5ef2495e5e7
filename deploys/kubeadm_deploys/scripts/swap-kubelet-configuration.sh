#!/bin/sh
# $1 the seconds that the kubelet may take to come up, other arguments are files that neither a kubelet with the new
# configuration nor one with the old one again may find. stdin has its new configuration in base64, then a line "end".
#
# Pods go on while the kubelet restarts. If it does not come up, the old configuration is put back.
. library/kubelet.sh
set -u
umask 022
seconds=$1
shift
file=/var/lib/kubelet/config.yaml
old=$file.kubeadm-deploys-old
read -r content
read -r complete
if [ "$complete" != end ]; then echo "the new configuration did not arrive; nothing was changed"; exit 1; fi

# The files go before the configuration: a kubelet that a power cut ends in between makes them again and runs.
put_in() {
  new=$1
  shift
  if [ $# -gt 0 ]; then systemctl stop kubelet && rm -f "$@" || return 1; fi
  sync "$new" && mv --force "$new" "$file" && systemctl restart kubelet
}

cp --preserve "$file" "$old" && cp --preserve "$file" "$file.kubeadm-deploys" || exit 1
printf %s "$content" | base64 --decode > "$file.kubeadm-deploys" || exit 1
since=$(date +%s)
if put_in "$file.kubeadm-deploys" "$@" && kubelet_runs "$seconds"; then
  rm -f "$old"
  exit 0
fi
echo "the kubelet did not come up; it said last:"
journalctl --unit kubelet --since "@$since" --no-pager --output cat | grep -i -E 'err|fail' | tail -n 4 | cut -c 1-300
if put_in "$old" "$@" && kubelet_runs "$seconds"; then
  echo "the old configuration was put back, and the kubelet runs again"
else
  echo "the old configuration was put back, but the kubelet does not run: journalctl --unit kubelet"
fi
exit 1
