#!/bin/sh
# Arguments are the files whose checksums and Calico releases are printed.
. library/print-files.sh
print_files "$@"
for path in "$@"; do
  echo "release:$path $(sed -n '/^ *image: .*\/node:v/{s///p;q}' "$path" 2> /dev/null)"
done
