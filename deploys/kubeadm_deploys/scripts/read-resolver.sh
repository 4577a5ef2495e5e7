#!/bin/sh
# Arguments are the files whose contents are wanted, then -- and those whose sums are wanted.
. library/print-files.sh
while [ "$1" != -- ]; do
  if [ -f "$1" ]; then echo "source:$1 $(base64 -w 0 < "$1")"; fi
  shift
done
shift
print_files "$@"
