#!/bin/sh
# $1 the URL, $2 its sha256, $3 the destination folder, $4 the file's name there, $5 its mode
. library/download.sh
set -eu
download "$1" "$2" "$3"
chmod "$5" "$work/download"
mv -f "$work/download" "$3/$4"
