#!/bin/sh
# $1 the folder of the restore, $2 the folder for the snapshot. Copies the database of this machine's etcd, which has ended,
# to where a snapshot would be; not any more when the new data is made.
. library/unpacking.sh
set -eu
umask 077
folder=$1 work=$2
if [ -e "$folder/unpacked" ] || [ -e "$work/ready" ]; then exit 0; fi
mkdir -p "$work"
end_unpacking "$work"
rm -f "$work"/etcd.db*
database=/var/lib/etcd/member/snap/db
free=$(($(df --output=avail --block-size=1M "$work" | tail -n 1)))
needed=$(($(stat --format %s "$database") * 2 / 1048576 + 256))
if [ "$free" -lt "$needed" ]; then
  echo "the disk of /var/lib/etcd has $free MiB free, and the restore needs $needed MiB; free some space there" >&2
  exit 1
fi
cp "$database" "$work/etcd.db.part"
sync "$work/etcd.db.part"
mv "$work/etcd.db.part" "$work/etcd.db"
