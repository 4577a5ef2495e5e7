#!/bin/sh
# $1 a folder, other arguments are paths. Copies the files that exist into the folder, unless it has them already.
set -eu
umask 077
folder=$1
shift
for path in "$@"; do
  if [ -f "$path" ] && [ ! -e "$folder$path" ]; then
    mkdir -p "$(dirname "$folder$path")"
    # The next run skips what exists, and then the original may be overwritten: it must be whole.
    cp --preserve "$path" "$folder$path.part"
    sync "$folder$path.part"
    mv --no-target-directory "$folder$path.part" "$folder$path"
  fi
done
