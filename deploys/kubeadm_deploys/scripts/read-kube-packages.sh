#!/bin/sh
# $1 names of packages, separated by blanks, $2 apt's keyring, other arguments are files whose checksums are
# printed
. library/print-files.sh
packages=$1 keyring=$2
shift 2
# shellcheck disable=SC2086 # Names of packages have no blanks.
dpkg-query --show --showformat '${Package} ${db:Status-Want} ${db:Status-Status} ${Version}\n' $packages 2>/dev/null |
  while read -r package want status version; do
    if [ "$status" = installed ]; then echo "package:$package $version"; fi
    # What apt-mark showhold prints, which reads apt's lists of all packages for it.
    if [ "$want" = hold ]; then echo "held:$package"; fi
  done
for is in enabled active; do
  if systemctl "is-$is" --quiet kubelet 2>/dev/null; then echo "kubelet:$is"; fi
done
# Without one of these files, before a join or after half a reset, it is normal that the kubelet fails.
node=yes
for file in /etc/kubernetes/kubelet.conf /etc/kubernetes/pki/ca.crt /var/lib/kubelet/config.yaml \
  /var/lib/kubelet/pki/kubelet-client-current.pem; do
  if ! [ -e "$file" ]; then node=; fi
done
if [ -n "$node" ]; then echo kubelet:has-node; fi
for file in /var/lib/kubelet/config.yaml /etc/kubernetes/kubeadm-deploys-kubelet.conf.d/fields.conf; do
  if [ -e "$file.kubeadm-deploys-old" ]; then echo kubelet:half-changed; fi
done
if [ -f "$keyring" ]; then echo "keyring $(base64 -w 0 "$keyring")"; fi
print_files "$@"
