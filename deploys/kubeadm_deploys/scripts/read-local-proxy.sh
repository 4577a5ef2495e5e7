#!/bin/sh
# $1 the proxy's unit, other arguments are files whose checksums are printed
#
# Debian's service is enabled as soon as the package is installed. While its configuration is the package's
# own, which has no listener, nobody uses it.
. library/print-files.sh
unit=$1
shift
if [ -x /usr/sbin/haproxy ]; then echo installed; fi
echo "active $(systemctl is-active "$unit")"
echo "enabled $(systemctl is-enabled "$unit" 2>/dev/null)"
packaged=$(dpkg-query --show --showformat '${Conffiles}\n' haproxy 2>/dev/null | sed -n 's|^ /etc/haproxy/haproxy.cfg ||p')
if [ -n "$packaged" ] && [ "$(md5sum < /etc/haproxy/haproxy.cfg | cut -c1-32)" = "$packaged" ] &&
   [ "$(systemctl is-enabled haproxy.service 2>/dev/null)" = enabled ]; then echo idle-service; fi
print_files "$@"
