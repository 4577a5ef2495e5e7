#!/bin/sh
# Arguments are paths; stdin has a line for each with the file's content in base64, and the mode if the file must
# have one, because any local user can read arguments. For the same reason only the shell's own "read" and here-document
# handle the content.
set -eu
umask 022
partial=
trap 'rm -f "$partial"' EXIT
for path in "$@"; do
  read -r content mode || { echo "the content of $path did not arrive" >&2; exit 1; }
  mkdir -p "$(dirname "$path")"
  # A link stays, and its target is written.
  file=$(readlink -f "$path") || { echo "$path is a link to a place that does not exist" >&2; exit 1; }
  # For example, a masked unit is a link to /dev/null.
  if [ -e "$file" ] && [ ! -f "$file" ]; then echo "$path leads to $file, which is not a regular file" >&2; exit 1; fi
  folder=$(dirname "$file")
  # Left by a killed run.
  rm -f "$folder/.${file##*/}.kubeadm-deploys"*
  partial=$(mktemp "$folder/.${file##*/}.kubeadm-deploys.XXXXXX")
  if [ -e "$file" ]; then
    cp --attributes-only --preserve=all "$file" "$partial"
  else
    chmod 0644 "$partial"
  fi
  if [ -n "$mode" ]; then chmod "$mode" "$partial"; fi
  base64 --decode > "$partial" <<CONTENT
$content
CONTENT
  sync "$partial"
  mv --force --no-target-directory "$partial" "$file"
  sync "$folder"
done
