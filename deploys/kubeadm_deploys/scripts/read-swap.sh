#!/bin/sh
# Prints the active swap, fstab, and the systemd units that bring swap back.
echo "container $(systemd-detect-virt --container 2>/dev/null)"
# A file that cannot be read must not be taken for empty, because it is written back.
if [ -f /etc/fstab ]; then fstab=$(base64 -w 0 /etc/fstab) || exit 1; echo "fstab $fstab"; fi
tail -n +2 /proc/swaps | while read -r device rest; do echo "active $device"; done
systemctl list-unit-files --no-legend --plain 'swap.target' '*.swap' \
  'systemd-zram-setup@.service' 'zramswap.service' 'zram-config.service' 'dphys-swapfile.service' 'swapspace.service' |
  while read -r unit state rest; do
    if [ -f "/etc/systemd/system/$unit" ] && [ "$state" = enabled ]; then state=local; fi
    printf 'unit %s %s\n' "$unit" "$state"
  done
