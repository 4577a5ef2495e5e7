#!/bin/sh
# $1 how many commands run in parallel; stdin has the words of kubectl commands, one per line, and an empty
# line after each command. Each line of a failed command's output is printed after the command's number.
. library/kubectl.sh
most=$1
status=0
running=
number=0
change() {
  number=$1
  shift
  said=$(api "$@" 2>&1 < /dev/null) && return
  printf '%s\n' "$said" | sed -u "s/^/$number /"
  return 1
}
await() {
  for each in $running; do wait "$each" || status=1; done
  running=
}
set --
while IFS= read -r word; do
  if [ -n "$word" ]; then set -- "$@" "$word"; continue; fi
  change "$number" "$@" &
  running="$running $!"
  number=$((number + 1))
  if [ $((number % most)) -eq 0 ]; then await; fi
  set --
done
await
exit $status
