#!/bin/sh
# $1 the URL, $2 its sha256, $3 the destination folder, $4 the tarball's own folder to leave out
#
# Nothing is moved before the checksum is right. The members are unpacked beside their destination and renamed
# one by one: a running program keeps its old file, and a killed run leaves no half-written one. Their names
# go through a file, because a pipe would hide that the archive has no such folder.
. library/download.sh
set -eu
download "$1" "$2" "$3"
mkdir "$work/unpacked"
tar --extract --gzip --no-same-owner --file "$work/download" --directory "$work/unpacked"
(cd "$work/unpacked/$4" && find . -type f) > "$work/members"
if [ ! -s "$work/members" ]; then echo "$1 has no files in $4; nothing was installed" >&2; exit 1; fi
while read -r member; do
  mkdir -p "$3/$(dirname "$member")"
  mv -f "$work/unpacked/$4/$member" "$3/$member"
done < "$work/members"
