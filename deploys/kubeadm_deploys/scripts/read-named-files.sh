#!/bin/sh
# Arguments are paths that a static pod's arguments name. Prints a line for each that is a regular file: its path,
# and its content in base64. Folders and what does not exist are left out.
set -eu
for path in "$@"; do
  [ -f "$path" ] || continue
  if [ "$(stat --dereference --format %s "$path")" -gt 1048576 ]; then
    echo "$path is larger than 1 MiB, which no configuration file is" >&2
    exit 1
  fi
  content=$(base64 --wrap 0 "$path")
  echo "file:$path $content"
done
