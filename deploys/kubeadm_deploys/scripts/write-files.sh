#!/bin/sh
# Arguments are paths; stdin has a line for each with the file's content in base64, since any local user can read
# arguments. "read" is one of the shell, and so is what feeds base64.
set -eu
umask 022
partial=
trap 'rm -f "$partial"' EXIT
for path in "$@"; do
  read -r content || { echo "the content of $path did not arrive" >&2; exit 1; }
  mkdir -p "$(dirname "$path")"
  # A link stays, and the file that it leads to is written.
  file=$(readlink -f "$path") || { echo "$path is a link to a place that does not exist" >&2; exit 1; }
  # As a unit that is masked leads to /dev/null.
  if [ -e "$file" ] && [ ! -f "$file" ]; then echo "$path leads to $file, which is not a regular file" >&2; exit 1; fi
  folder=$(dirname "$file")
  # Of a run that was killed.
  rm -f "$folder/.${file##*/}.kubeadm-deploys"*
  partial=$(mktemp "$folder/.${file##*/}.kubeadm-deploys.XXXXXX")
  if [ -e "$file" ]; then
    cp --attributes-only --preserve=all "$file" "$partial"
  else
    chmod 0644 "$partial"
  fi
  base64 --decode > "$partial" <<CONTENT
$content
CONTENT
  sync "$partial"
  mv --force --no-target-directory "$partial" "$file"
  sync "$folder"
done
