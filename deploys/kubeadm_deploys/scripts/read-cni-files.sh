#!/bin/sh
# Arguments are the files whose checksums and Calico releases are printed.
. library/print-files.sh
print_files "$@"
for path in "$@"; do
  echo "release:$path $(sed -n 's/^ *image: .*\/node:v//p' "$path" 2> /dev/null | head -n 1)"
done
