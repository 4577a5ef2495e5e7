# shellcheck shell=sh
# Before several commands that run at the same time, each with its output in a file of its own in memory: $answers is
# their folder, NAME the command's output and NAME.errors its complaints.
answers=$(mktemp -d /run/kubeadm-deploys-answers.XXXXXX) || exit 1
trap 'rm -rf "$answers"' EXIT
# PIPE too: a shell that it ends makes no EXIT trap.
trap 'exit 1' HUP INT PIPE TERM
# Prints what a command printed between two marks. When it failed its complaints go on after its name and a colon, and
# the second mark is left out. $1 the name, $2 the process, $3 and $4 the marks
answer() {
  status=0
  wait "$2" || status=$?
  echo
  echo "$3"
  cat "$answers/$1"
  if [ "$status" = 0 ]; then
    echo
    echo "$4"
  else
    [ -s "$answers/$1.errors" ] || echo "the command failed and printed nothing" > "$answers/$1.errors"
    sed "s/^/$1: /" "$answers/$1.errors" >&2
  fi
}
