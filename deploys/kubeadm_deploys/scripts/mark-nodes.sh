#!/bin/sh
# $1 how many commands run beside each other; stdin has the words of kubectl commands, one a line, and an empty line
# after each command. What a command says when it fails is printed with its number before each line.
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
