#!/bin/sh
# $1 the seconds that the kubelet may take to come up, other arguments are the files of its configuration. Ends what
# swap-kubelet-configuration.sh was cut off at: the file that is in stays if the kubelet runs with it; otherwise the old one
# comes back. At most one of them was being exchanged.
. library/kubelet.sh
. library/kubelet-configuration.sh
set -u
# A failed command's stderr is shown.
exec >&2
seconds=$1
shift
for path in "$@"; do
  exchange_of "$path"
  if [ -e "$old" ]; then break; fi
done
if [ ! -e "$old" ]; then exit 0; fi
since=$(date +%s)
# An older process may not have read the file.
if systemctl daemon-reload && systemctl restart kubelet && kubelet_runs "$seconds"; then
  rm -f "$old" "$state"
  exit 0
fi
echo "the kubelet did not run with a configuration whose change was cut off; it said last:"
say_what_failed "$since"
set --
while read -r path; do
  if [ -n "$path" ]; then set -- "$@" "$path"; fi
done < "$state"
if put_in "$old" "$@" && kubelet_runs "$seconds"; then
  rm -f "$state"
  echo "the configuration from before was put back, and the kubelet runs again"
  exit 0
fi
echo "$file has the configuration from before, but the kubelet does not run: journalctl --unit kubelet"
exit 1
