#!/bin/sh
# Arguments are the files whose checksums are printed.
. library/print-files.sh
print_files "$@"
