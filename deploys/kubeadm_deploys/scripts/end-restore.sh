#!/bin/sh
# $1 the folder of a restore that has ended here, $2 that of its data, in the folder where old data is kept. The record
# goes first.
set -eu
rm -f "$1/record"
rm -rf "$1" "$2"
if [ -d "${2%/*}" ]; then rmdir --ignore-fail-on-non-empty "${2%/*}"; fi
