#!/bin/sh
# Arguments are the files whose contents are printed, then -- and the files whose checksums are printed.
. library/print-files.sh
while [ "$1" != -- ]; do
  if [ -f "$1" ]; then echo "source:$1 $(base64 -w 0 < "$1")"; fi
  shift
done
shift
print_files "$@"
