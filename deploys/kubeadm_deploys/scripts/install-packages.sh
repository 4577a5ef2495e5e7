#!/bin/sh
# Arguments are names of packages, with =version or =pattern* where the version matters.
#
# On a fresh machine unattended upgrades hold apt's locks for minutes. With an option, apt waits for dpkg's
# lock, but it never waits for the lock of its package lists, and dpkg never waits at all. A source that
# cannot be read is an error here: with apt's default the installation would fail later, with a message that
# names no URL.
#
# What a killed dpkg left is finished first, in the only order that repairs everything: dpkg reads its
# journal, without which apt refuses to start, and configures complete packages; apt installs missing
# dependencies, for which it must not get names of packages; then apt unpacks again what dpkg marks
# "reinstreq". Each of the first two steps fails on what the next one repairs. What is left after the third
# makes the installation fail.
#
# Packages are never removed, because others may need them. Ubuntu's needrestart would restart other services
# after an installation, or wait for an answer.
set -eu
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
deadline=$(($(date +%s) + 600))
unlocked() {
  until problem=$("$@" 2>&1); do
    case $problem in *'Could not get lock'*|*'was locked by another process'*) ;; *) echo "$problem" >&2; return 1 ;; esac
    if [ "$(date +%s)" -gt "$deadline" ]; then echo "$problem" >&2; return 1; fi
    sleep 2
  done
}
options='--quiet=2 --yes --no-install-recommends --allow-downgrades --allow-change-held-packages
  -o DPkg::Lock::Timeout=600 -o Dpkg::Options::=--force-confold'
# shellcheck disable=SC2086 # It is a list.
apt_get() { apt-get $options --no-remove "$@"; }
interrupted=$(dpkg --audit)$(ls /var/lib/dpkg/updates)
if [ -n "$interrupted" ]; then
  unlocked dpkg --force-confold --configure --pending || echo 'dpkg could not finish; apt goes on' >&2
fi
unlocked apt-get --quiet=2 -o APT::Update::Error-Mode=any update
if [ -n "$interrupted" ]; then
  apt_get --fix-broken install || echo 'apt could not finish; what is to be unpacked again follows' >&2
  states=$(dpkg-query --show --showformat '${db:Status-Want} ${db:Status-Eflag} ${binary:Package}\n')
  again=$(echo "$states" | sed -n -E 's/^(install|hold) reinstreq //p')
  # shellcheck disable=SC2086 # Names of packages, one a word.
  if [ -n "$again" ]; then apt_get --reinstall install $again; fi
fi
if ! apt_get install "$@"; then
  # shellcheck disable=SC2086 # It is a list.
  plan=$(apt-get $options --simulate install "$@" 2> /dev/null) || plan=
  removed=$(echo "$plan" | sed -n 's/^Remv \([^ ]*\).*/\1/p' | paste -s -d ' ')
  if [ -n "$removed" ]; then
    echo "for $*, apt would have to remove $removed, so nothing was installed; if nothing needs it, remove it by hand" >&2
  fi
  exit 1
fi
