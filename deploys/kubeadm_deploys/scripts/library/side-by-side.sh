# shellcheck shell=sh
# Goes before several commands that run in parallel, each with its output in its own files in memory: in the
# folder $answers, NAME has a command's output and NAME.errors its errors.
answers=$(mktemp -d /run/kubeadm-deploys-answers.XXXXXX) || exit 1
trap 'rm -rf "$answers"' EXIT
# PIPE too: a shell that this signal ends does not run its EXIT trap.
trap 'exit 1' HUP INT PIPE TERM
# Waits for a command, and adds the marks around its output to $printed, the files that are printed in the end. If
# it failed, its errors are printed to stderr after its name and a colon, and the second mark is left out.
# $1 the name, $2 the process, $3 and $4 the marks
answer() {
  status=0
  wait "$2" || status=$?
  printf '\n%s\n' "$3" > "$answers/$1.begin"
  printed="$printed $answers/$1.begin $answers/$1"
  if [ "$status" = 0 ]; then
    printf '\n%s\n' "$4" > "$answers/$1.end"
    printed="$printed $answers/$1.end"
  else
    [ -s "$answers/$1.errors" ] || echo "the command failed and printed nothing" > "$answers/$1.errors"
    sed "s/^/$1: /" "$answers/$1.errors" >&2
  fi
}
printed=
