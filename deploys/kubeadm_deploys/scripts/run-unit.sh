#!/bin/sh
# $1 the unit, $2 restart or reload-or-restart, $3 a shell command that the running unit must pass, $4 one that must
# succeed before the unit is touched
sh -c "$4" || exit 1
systemctl daemon-reload
systemctl --quiet enable "$1"
since=$(date +%s)
systemctl "$2" "$1" && sh -c "$3" && exit 0
journalctl --unit "$1" --since "@$since" --lines 20 --no-pager >&2
echo "$1 does not run as it should; above is what it said: systemctl status $1" >&2
exit 1
