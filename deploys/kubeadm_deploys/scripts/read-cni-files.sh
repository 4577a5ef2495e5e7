#!/bin/sh
# $1 the node's address, other arguments the files whose sums, and releases of Calico, are wanted
. library/print-files.sh
interface=$(ip -o -4 address show to "$1" | awk '{print $2; exit}')
shift
if [ -n "$interface" ]; then echo "mtu $(cat "/sys/class/net/$interface/mtu")"; fi
print_files "$@"
for path in "$@"; do
  echo "release:$path $(sed -n 's/^ *image: .*\/node:v//p' "$path" 2> /dev/null | head -n 1)"
done
