#!/bin/sh
# $1 the name of a static pod, other arguments are those that it is to get. The program of the running container reads
# them without starting anything, and says which one it does not know or cannot parse.
. library/containerd.sh
set -u
name=$1
shift
containerd_seconds=60
container=$(runtime ps --quiet --state running --name "^$name\$" | head -n 1)
if [ -z "$container" ]; then echo "no container of $name runs" >&2; exit 1; fi
if ! output=$(runtime exec --timeout 30 "$container" "$name" "$@" --help 2>&1); then
  { printf '%s\n' "$output" | grep -i error || printf '%s\n' "$output"; } | head -n 3 >&2
  exit 1
fi
