#!/bin/sh
# $1 the folder of a restore, $2 the folder for its data, $3 the record. Writes the record; what another restore left
# is removed, except the manifests that it set aside.
set -eu
umask 077
folder=$1 work=$2 record=$3
mkdir -p "$folder"
if [ "$(cat "$folder/record" 2> /dev/null)" != "$record" ]; then rm -rf "$work" "$folder/unpacked"; fi
printf '%s\n' "$record" > "$folder/record.part"
sync "$folder/record.part"
mv --force "$folder/record.part" "$folder/record"
sync "$folder"
