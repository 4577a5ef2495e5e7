#!/bin/sh
# $1 the name of a static pod, $2 the URL of its health, $3 the seconds that it may take to become healthy. stdin has a
# line for each file to write, the manifest last: path, mode and content in base64; then a line "end".
#
# The old manifest is taken out, and the new one put in when the pod is gone: if a manifest is only replaced, the
# kubelet waits for the old pod and then 10 s and more before it starts the new one. If the new pod does not become
# healthy, everything is put back. While there is no manifest, the old one is in a folder that is named like kubeadm's
# own backups, from which a run restores it.
. library/containerd.sh
set -u
umask 077
# shellcheck disable=SC2034 # library/containerd.sh reads it.
containerd_seconds=30
name=$1 url=$2 seconds=$3
manifest=/etc/kubernetes/manifests/$name.yaml
backup=/etc/kubernetes/tmp/kubeadm-backup-manifests-kubeadm-deploys
new=/etc/kubernetes/tmp/kubeadm-deploys-new

now() { date +%s; }
healthy() { [ "$(curl --insecure --silent --noproxy '*' --max-time 5 "$url")" = ok ]; }
pods() { runtime pods --quiet --state ready --name "^$name-"; }
uids() { runtime pods --state ready --name "^$name-" --output json | sed -n 's/^ *"uid": *"\([^"]*\)".*/\1/p'; }

# With a delay that the operator has set, it ends by itself. So does a program that does not wait for its clients.
patience() {
  case $(cat "$1") in
    *--shutdown-delay-duration=*) echo 90 ;;
    *--shutdown-watch-termination-grace-period=*) echo 10 ;;
    *) if [ "$name" = kube-apiserver ]; then echo 0; else echo 10; fi ;;
  esac
}

# Moves the manifest to $1, and waits until the kubelet has removed all of the pod.
take_out() {
  gone=$(uids)
  mv --force "$manifest" "$1" || return 1
  begun=$(now)
  patience=$(patience "$1")
  while :; do
    # Without an answer it may still run.
    left=$(pods) || left=unknown
    for uid in $gone; do if [ -e "/var/lib/kubelet/pods/$uid" ]; then left="$left $uid"; fi; done
    if [ -z "$left" ]; then break; fi
    passed=$(($(now) - begun))
    if [ $passed -ge 150 ]; then echo "the old $name still runs after 150 s" && return 1; fi
    if [ $passed -ge "$patience" ]; then
      containers=$(runtime ps --quiet --name "^$name\$")
      # shellcheck disable=SC2086 # IDs, one a word.
      if [ -n "$containers" ]; then runtime stop --timeout 1 $containers > /dev/null; fi
    fi
    sleep 0.2
  done
  # The kubelet removes the pod's folder, but looks at its volumes every 0.3 s before it lets another pod of that name start.
  sleep 0.5
}

# Waits until the pod is healthy; a program that has ended twice does not become healthy.
await() {
  begun=$(now)
  until healthy; do
    pod=$(pods | head -n 1)
    if [ -n "$pod" ] && [ "$(runtime ps --all --quiet --state exited --pod "$pod" | wc -l)" -ge "$1" ]; then return 1; fi
    if [ $(($(now) - begun)) -ge "$seconds" ]; then return 1; fi
    sleep 0.3
  done
}

rm -rf "$new" "$backup"
mkdir -p "$new" "$backup" || exit 1
number=0 complete=
while read -r path mode content; do
  if [ "$path" = end ]; then complete=yes; break; fi
  number=$((number + 1))
  printf %s "$content" | base64 --decode > "$new/$number" && chmod "$mode" "$new/$number" || exit 1
  printf %s "$path" > "$new/$number.path"
  if [ -f "$path" ] && [ "$path" != "$manifest" ]; then cp --preserve "$path" "$new/$number.old" || exit 1; fi
done
if [ -z "$complete" ]; then echo "the new files of $name did not arrive; nothing was changed"; exit 1; fi
sync

put_in() {
  mkdir -p "$(dirname "$2")" && cp --preserve "$1" "$2.kubeadm-deploys" && sync "$2.kubeadm-deploys" &&
    mv --force "$2.kubeadm-deploys" "$2"
}

# Puts in the new files (without $1) or the old ones ($1 is .old); the last one is the manifest.
put_in_files() {
  each=1
  while [ $each -lt $number ]; do
    path=$(cat "$new/$each.path")
    if [ -e "$new/$each$1" ]; then put_in "$new/$each$1" "$path" || return 1; else rm -f "$path"; fi
    each=$((each + 1))
  done
}

started=$(now)
if take_out "$backup/$name.yaml" && ended=$(now) && put_in_files '' && mv --force "$new/$number" "$manifest" && await 2; then
  rm -rf "$backup" "$new"
  echo "$name was away for $(($(now) - started)) s, $((ended - started)) of them for the end of the old pod"
  exit 0
fi
echo "the new $name did not become healthy; it said last:"
container=$(runtime ps --all --quiet --latest --name "^$name\$" | head -n 1)
if [ -n "$container" ]; then runtime logs --tail 8 "$container" 2>&1 | cut -c 1-300; fi
if [ -e "$manifest" ]; then take_out "$new/failed.yaml"; fi
put_in_files .old
cp --preserve "$backup/$name.yaml" "$new/restored.yaml" && mv --force "$new/restored.yaml" "$manifest"
if await 1000; then
  rm -rf "$backup" "$new"
  echo "the old manifest was put back, and $name is healthy again"
else
  echo "the old manifest was put back, but $name is not healthy; the old manifest is kept in $backup"
fi
exit 1
