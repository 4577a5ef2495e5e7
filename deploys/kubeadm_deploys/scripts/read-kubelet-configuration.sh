#!/bin/sh
# Prints the kubelet's configuration in base64, and whether it is newer than the running kubelet.
set -eu
file=/var/lib/kubelet/config.yaml
echo "configuration $(base64 --wrap 0 "$file")"
started=$(systemctl show --property ActiveEnterTimestamp --value kubelet)
if [ -z "$started" ] || [ "$(stat --format %Y "$file")" -gt "$(date --date "$started" +%s)" ]; then echo stale; fi
