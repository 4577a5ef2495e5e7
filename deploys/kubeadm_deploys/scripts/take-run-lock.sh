#!/bin/sh
# $1 the lock's folder, $2 for how many seconds the lock is granted, $3 the run that asks, $4 a run that may
# lose it, $5 the lines that describe who asks
#
# flock on the folder, which only root can open, lets in one run at a time. A lock that ends later than a
# lease from now was written before a reboot, and one whose end is not a number does not count; the shell's
# error about that is suppressed. The first line printed shows that the machine was reached, even if the rest
# fails.
echo asked
set -eu
folder=$1 lease=$2 mine=$3 dead=$4 document=$5
value() { if [ -e "$folder/lock" ]; then sed -n "s/^$1 //p" "$folder/lock"; fi; }
refuse() { echo "$*" >&2; exit 1; }
if [ -L "$folder" ] || { [ -e "$folder" ] && ! [ -d "$folder" ]; }; then
  refuse "$folder is not a folder; find out what made it, and remove it"
fi
# shellcheck disable=SC2174 # The folder above it exists.
mkdir -p -m 0700 "$folder"
# shellcheck disable=SC3067 # Debian's sh and bash support it.
[ -O "$folder" ] || refuse "$folder does not belong to root; find out who made it, and remove it"
# Earlier versions left it open to all users.
chmod 0700 "$folder"
exec 9< "$folder"
flock --wait 5 9 || refuse "another process keeps $folder locked; lslocks shows which"
up=$(cut -d . -f 1 /proc/uptime)
start=$up
case $(value run) in
  "$mine") start=$(value start) ;;
  ''|"$dead") ;;
  *)
    until=$(value until)
    if [ "$until" -gt "$up" ] && [ "$until" -le "$((up + lease))" ]; then
      echo held
      echo "up $up"
      cat "$folder/lock"
      exit 0
    fi 2> /dev/null
    ;;
esac
printf '%s\nstart %s\nuntil %s\n' "$document" "$start" "$((up + lease))" > "$folder/lock.new"
mv "$folder/lock.new" "$folder/lock"
echo taken
