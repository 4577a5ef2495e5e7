#!/bin/sh
# $1 the unit, $2 the text of a script, $3 its name, other arguments are the script's own, like its stdin
#
# The script survives the connection that started it, because it must not be cut off halfway. Therefore its output goes
# to a file: a program that writes to a closed connection is killed.
set -u
# systemd takes ${...} in a unit's command for a variable of its own, and $$ for one $.
literal() { printf '%s\n' "$1" | sed 's/\$/$$/g'; }
unit=$1 text=$(literal "$2") name=$3
shift 3
for argument in "$@"; do
  shift
  set -- "$@" "$(literal "$argument")"
done
log=/run/$name.log
# Otherwise it is the whole script, with line breaks, which systemd cannot read again.
description="$name (kubeadm-deploys)"
input=$(cat)
# shellcheck disable=SC2016 # The unit's shell expands them from its own arguments.
printf '%s\n' "$input" | systemd-run --quiet --collect --wait --pipe --unit="$unit" \
  --description="$description" --setenv=PATH="$PATH" \
  sh -c 'umask 077; log=$1; shift; exec sh -c "$@" > "$log" 2>&1' "$name" "$log" "$text" "$name" "$@"
status=$?
if [ -e "$log" ]; then
  cat "$log" >&2
  rm "$log"
fi
exit $status
