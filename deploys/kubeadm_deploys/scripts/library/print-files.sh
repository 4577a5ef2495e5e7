# shellcheck shell=sh
# What the parsers of remote/lines.py read.

# Prints "file:<path> <sha256>" for every argument that is a file.
print_files() {
  for path in "$@"; do
    if [ -f "$path" ]; then echo "file:$path $(sha256sum < "$path" | cut -c1-64)"; fi
  done
}
