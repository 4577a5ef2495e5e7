#!/bin/sh
# $1 the lock's folder, $2 the run that releases the lock
set -eu
folder=$1 mine=$2
[ -e "$folder/lock" ] || exit 0
exec 9< "$folder"
flock --wait 5 9
if grep --quiet --line-regexp --fixed-strings "run $mine" "$folder/lock"; then rm "$folder/lock"; fi
