# shellcheck shell=sh
# What the parsers of remote/lines.py read.

# Prints "file:<path> <sha256>" for every argument that is a file. One that cannot be read must not be taken for missing,
# so it ends the script.
print_files() {
  for path in "$@"; do
    shift
    if [ -f "$path" ]; then set -- "$@" "$path"; fi
  done
  if [ $# -gt 0 ]; then
    sums=$(sha256sum "$@") || exit 1
    printf '%s\n' "$sums" | while read -r sum path; do echo "file:$path $sum"; done
  fi
}
