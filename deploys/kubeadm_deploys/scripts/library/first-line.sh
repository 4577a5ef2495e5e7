# shellcheck shell=sh

# Sets $line to the first line of a file, or to nothing if there is none, without starting a program. Not for files in
# /proc/sys: a shell reads byte by byte, and gets only the first byte of them.
first_line() {
  line=
  { IFS= read -r line < "$1"; } 2> /dev/null
}
