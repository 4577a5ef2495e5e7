#!/bin/sh
# Prints whether etcd's log on this machine is "empty", that is, has no entry yet, or is "written".
#
# A log begins with at most 80 bytes: checksum, identity of the member and the snapshot of no data. etcd reserves the rest
# of the file as zeros. These are counted, so that a log that cannot be read does not look empty.
set -eu
cd /var/lib/etcd/member
set -- wal/*.wal
size=$(stat --format %s "$1")
zeros=$(tail --bytes +81 "$1" | tr --delete --complement '\0' | wc --bytes)
snapshots=$(find snap -name '*.snap')
if [ $# -eq 1 ] && [ -z "$snapshots" ] && [ "$size" -gt 80 ] && [ "$zeros" -eq $((size - 80)) ]; then
  echo empty
else
  echo written
fi
