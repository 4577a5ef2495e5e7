# shellcheck shell=sh
# What the parsers of remote/lines.py read.

# Prints "file:<path> <sha256>" for every argument that is a file.
print_files() {
  for path in "$@"; do
    shift
    if [ -f "$path" ]; then set -- "$@" "$path"; fi
  done
  if [ $# -gt 0 ]; then
    sha256sum "$@" | while read -r sum path; do echo "file:$path $sum"; done
  fi
}
