# shellcheck shell=sh

# Sets $line to the first line of a file, or to nothing if there is none. A program for each file would cost more than the
# rest of a script together. Not for /proc/sys: it gives a shell, which reads byte by byte, only the first one.
first_line() {
  line=
  { IFS= read -r line < "$1"; } 2> /dev/null
}
