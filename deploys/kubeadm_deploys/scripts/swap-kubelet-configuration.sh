#!/bin/sh
# $1 a file of the kubelet's configuration, $2 the seconds that the kubelet may take to come up, other arguments are files that
# neither a kubelet with the new configuration nor one with the old one again may find. stdin has the file's new content in
# base64, then a line "end".
#
# Pods go on while the kubelet restarts. If it does not come up, the old configuration is put back; if the machine goes down
# before that, settle-kubelet-configuration.sh does it.
. library/kubelet.sh
. library/kubelet-configuration.sh
set -u
umask 022
exchange_of "$1"
seconds=$2
shift 2
read -r content
read -r complete
if [ "$complete" != end ]; then echo "the new configuration did not arrive; nothing was changed"; exit 1; fi
if [ -e "$old" ]; then
  echo "an earlier change was cut off and has left $old; nothing was changed, run this again"
  exit 1
fi

cp --preserve "$file" "$file.kubeadm-deploys" || exit 1
printf %s "$content" | base64 --decode > "$file.kubeadm-deploys" || exit 1
# By its name, so that it is there as a whole or not at all.
cp --preserve "$file" "$old.new" && printf '%s\n' "$@" > "$state" && sync "$old.new" "$state" && mv "$old.new" "$old" || exit 1
since=$(date +%s)
if put_in "$file.kubeadm-deploys" "$@" && kubelet_runs "$seconds"; then
  rm -f "$old" "$state"
  exit 0
fi
echo "the kubelet did not come up; it said last:"
say_what_failed "$since"
if put_in "$old" "$@" && kubelet_runs "$seconds"; then
  echo "the old configuration was put back, and the kubelet runs again"
else
  echo "the old configuration was put back, but the kubelet does not run: journalctl --unit kubelet"
fi
rm -f "$state"
exit 1
