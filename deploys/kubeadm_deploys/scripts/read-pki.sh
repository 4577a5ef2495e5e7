#!/bin/sh
# $1 the folder, other arguments are files. Prints a line for each: its name, and its content in base64.
set -eu
cd "$1"
shift
missing=
for file in "$@"; do if [ ! -s "$file" ]; then missing="$missing $file"; fi; done
if [ -n "$missing" ]; then echo "missing or empty in $PWD:$missing" >&2; exit 1; fi
for file in "$@"; do
  content=$(base64 --wrap 0 "$file") || { echo "$PWD/$file cannot be read" >&2; exit 1; }
  echo "$file $content"
done
