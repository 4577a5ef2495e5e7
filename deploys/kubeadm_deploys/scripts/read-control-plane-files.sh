#!/bin/sh
# Arguments are paths. For each that is a file, prints its checksum, and its mode as four octal digits.
. library/print-files.sh
print_files "$@"
for path in "$@"; do
  if [ -f "$path" ]; then echo "mode:$path 0$(stat --dereference --format %a "$path")"; fi
done
