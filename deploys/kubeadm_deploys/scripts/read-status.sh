#!/bin/sh
# What only a status report reads of a machine: its system, whether it has to be rebooted, its certificates, and the checksums
# of the files that are its arguments.
. library/print-files.sh
print_files "$@"
echo "os $(sed -n 's/^PRETTY_NAME=//p' /etc/os-release | tr -d '"')"
running=$(uname -r)
echo "kernel $running"
if [ -e /run/reboot-required ]; then echo 'reboot packages ask for it'; fi
# Of the running kernel's flavour, like generic or cloud-amd64; without its image in /boot, the kernel is not the
# machine's own, as in a container.
if [ -e "/boot/vmlinuz-$running" ]; then
  flavour=$(printf %s "$running" | sed 's/^.*[0-9]-//')
  # shellcheck disable=SC2012 # Debian's names of kernels have no white space.
  newest=$(ls /boot | sed -n "s/^vmlinuz-\(.*[0-9]-$flavour\)\$/\1/p" | sort -V | tail -n 1)
  if [ "$newest" != "$running" ]; then echo "reboot kernel $newest is installed"; fi
fi
cd /etc/kubernetes 2> /dev/null || exit 0
for file in pki/*.crt pki/etcd/*.crt; do
  if [ -f "$file" ]; then echo "certificate:$file $(base64 -w 0 "$file")"; fi
done
for file in admin.conf super-admin.conf controller-manager.conf scheduler.conf; do
  certificate=$(sed -n 's/^ *client-certificate-data: *//p' "$file" 2> /dev/null | head -n 1)
  if [ -n "$certificate" ]; then echo "certificate:$file $certificate"; fi
done
client=/var/lib/kubelet/pki/kubelet-client-current.pem
if [ -f $client ]; then
  echo "certificate:kubelet.conf $(sed -n '/BEGIN CERT/,/END CERT/p; /END CERT/q' $client | base64 -w 0)"
fi
