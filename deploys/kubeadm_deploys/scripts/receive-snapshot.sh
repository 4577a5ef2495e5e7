#!/bin/sh
# $1 the folder for the snapshot, $2 its size in bytes, $3 its sha256; stdin has the snapshot.
. library/unpacking.sh
set -eu
umask 077
folder=$1 size=$2 sha256=$3
mkdir -p "$folder"
partial="$folder/etcd.db.part"
trap 'rm -f "$partial"' EXIT
trap 'exit 1' HUP INT PIPE TERM
end_unpacking "$folder"
rm -f "$folder"/etcd.db*
free=$(($(df --output=avail --block-size=1M "$folder" | tail -n 1)))
needed=$((size * 2 / 1048576 + 256))
if [ "$free" -lt "$needed" ]; then
  echo "the disk of /var/lib/etcd has $free MiB free, and the restore needs $needed MiB; free some space there" >&2
  exit 1
fi
cat > "$partial"
found=$(sha256sum < "$partial" | cut -c1-64)
if [ "$found" != "$sha256" ]; then
  echo "the snapshot did not arrive as a whole; run it again" >&2
  exit 1
fi
sync "$partial"
mv "$partial" "$folder/etcd.db"
