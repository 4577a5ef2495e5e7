#!/bin/sh
# $1 the folder of a restore that has ended here, $2 that of its data. The record goes first.
set -eu
rm -f "$1/record"
rm -rf "$1" "$2"
