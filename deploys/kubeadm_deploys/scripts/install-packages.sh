#!/bin/sh
# Arguments are names of packages, with =version or =pattern* where the version matters.
#
# On a fresh machine unattended upgrades hold apt's locks for minutes. apt waits for dpkg's lock by itself when told
# so, but not for the one of its package lists, and dpkg never. A source that cannot be read is an error for once:
# with apt's default the install would fail later, with a message that names no URL.
#
# What a dpkg that was killed has left is finished first, in the one order that gets over all of it: dpkg takes in its
# journal, before which apt refuses to begin, and configures what is whole; apt gets the dependencies that had not
# come yet, for which it must not be given names of packages; then it unpacks again what dpkg says it must
# ("reinstreq"). Each of the first two fails on what is for the next, and what is left after the third makes the
# installation fail.
#
# Nothing is ever removed: other packages are not ours. needrestart, which Ubuntu has, would restart services of
# others after an installation, or wait for an answer.
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
