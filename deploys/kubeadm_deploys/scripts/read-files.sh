#!/bin/sh
# Arguments are the files whose sums are wanted.
. library/print-files.sh
print_files "$@"
