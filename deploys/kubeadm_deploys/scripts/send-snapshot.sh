#!/bin/sh
# $1 a mark, $2 the folder for the snapshot. Takes a snapshot of this member's etcd, prints a line with the mark,
# the snapshot's size in bytes, its sha256 and its status as JSON, and then the snapshot itself.
#
# The folder is below etcd's own, because nothing else is mounted into etcd's container. It is removed however
# this script ends; one that a power cut left is removed first. A full disk would stop etcd, so there must be room
# for another snapshot afterwards, and for the files that etcd allocates in advance.
. library/etcdctl.sh
set -eu
umask 077
mark=$1 folder=$2
rm -rf "$folder"
trap 'rm -rf "$folder"' EXIT
# PIPE too: a shell that this signal ends does not run its EXIT trap.
trap 'exit 1' HUP INT PIPE TERM
size=$(stat --format %s /var/lib/etcd/member/snap/db)
free=$(($(df --output=avail --block-size=1M /var/lib/etcd | tail -n 1)))
needed=$((size * 2 / 1048576 + 256))
if [ "$free" -lt "$needed" ]; then
  echo "the disk of /var/lib/etcd has $free MiB free, and a snapshot needs $needed MiB; free some space there" >&2
  exit 1
fi
mkdir "$folder"
# The log of etcdctl goes to stderr, and counts only if it fails.
etcdctl snapshot save "$folder/etcd.db" > "$folder/log" 2>&1 || { tail -n 3 "$folder/log" >&2; exit 1; }
# Before etcd 3.6, etcdctl can do this too, and some images have no etcdutl.
status=$(in_etcd etcdutl snapshot status --write-out=json "$folder/etcd.db" 2> "$folder/log" ||
  etcdctl snapshot status --write-out=json "$folder/etcd.db" 2>> "$folder/log") || { tail -n 3 "$folder/log" >&2; exit 1; }
echo
echo "$mark $(stat --format %s "$folder/etcd.db") $(sha256sum < "$folder/etcd.db" | cut -c1-64) $status"
cat "$folder/etcd.db"
