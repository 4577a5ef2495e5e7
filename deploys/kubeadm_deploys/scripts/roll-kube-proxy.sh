#!/bin/sh
# $1 the seconds that the next pod may take, $2 the annotation that both patches give the ConfigMap. stdin has in base64, a
# line each: the old configuration, the patch of the ConfigMap that puts it back, the patch with the new configuration;
# then a line "end".
#
# The ConfigMap has the annotation $2 from the first patch on until its pods run as it says. All of them must run before
# that patch; with the annotation, it was made by an earlier run that was cut off, and pods may have ended because of it.
#
# The pods read the ConfigMap when they start. An annotation of the DaemonSet's pods has the sha256 of the patch: another
# one makes Kubernetes replace the pods one by one, and with the one from before, pods that are left stay as they are.
. library/kubectl.sh
set -u
umask 077
seconds=$1 unfinished=$2
annotation=kubeadm-deploys/kube-proxy
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
# A shell that a signal ends does not run its EXIT trap.
trap 'exit 1' HUP INT PIPE TERM
# The caller looks for the last words.
stop() {
  echo "$1; nothing was changed"
  exit 1
}

complete=
read -r old && read -r back && read -r patch && read -r complete
if [ "$complete" != end ]; then stop "the new configuration did not arrive"; fi
if ! { printf %s "$old" | base64 --decode > "$work/old" && printf %s "$back" | base64 --decode > "$work/back.json" &&
  printf %s "$patch" | base64 --decode > "$work/new.json"; }; then
  stop "the new configuration could not be written"
fi

system() { api --namespace kube-system "$@"; }
now() { date +%s; }

# An API server that is away for a moment refuses some requests.
again() {
  tries=1
  until "$@"; do
    if [ $tries -ge 5 ]; then return 1; fi
    tries=$((tries + 1))
    sleep 3
  done
}

# A pod is available when it has run for some seconds: a wrong configuration ends kube-proxy at once, but its pod is ready
# before that.
mark() {
  again system patch daemonset kube-proxy --type merge --patch \
    "{\"spec\":{\"minReadySeconds\":5,\"template\":{\"metadata\":{\"annotations\":{\"$annotation\":$1}}}}}" > /dev/null
}

counts() {
  system get daemonset kube-proxy --output "jsonpath={.metadata.generation}|{.status.observedGeneration}|\
{.status.desiredNumberScheduled}|{.status.updatedNumberScheduled}|{.status.numberAvailable}"
}

# Ends a change: from now on, pods that do not run do so for another reason.
finish() {
  again system patch configmap kube-proxy --type merge --patch "{\"metadata\":{\"annotations\":{\"$unfinished\":null}}}" \
    > /dev/null
}

# Name, node, readiness and restarts of each pod.
pods() {
  system get pods --selector k8s-app=kube-proxy --output 'jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName} '\
'{.status.conditions[?(@.type=="Ready")].status} {.status.containerStatuses[0].restartCount}{"\n"}{end}'
}

# Fails if a pod that is not in $work/before has ended twice.
new_pods_stay() {
  pods > "$work/now" || return 0
  while read -r name _ _ restarts; do
    if [ "${restarts:-0}" -ge 2 ] && ! grep --quiet "^$name " "$work/before"; then return 1; fi
  done < "$work/now"
}

# Waits until every pod is new and available; fails if nothing changes for too long.
rolled_out() {
  last='' since=$(now)
  while :; do
    found=$(counts) || found=$last
    if [ "$found" != "$last" ]; then last=$found since=$(now); fi
    if echo "$found" | awk -F '|' '{exit !($1 != "" && $1 == $2 && $3 == $4 + 0 && $3 == $5 + 0)}'; then return 0; fi
    if [ $(($(now) - since)) -ge "$seconds" ]; then return 1; fi
    new_pods_stay || return 1
    sleep 1
  done
}

# Prints the end of a pod's log; fails if there is none. The container that has ended may be deleted already: the kubelet then
# says so in place of the log.
# shellcheck disable=SC2329 # It is an argument of "again".
last_words() {
  for which in --previous ''; do
    said=$(system logs "$1" --tail 6 ${which:+"$which"} 2> /dev/null)
    case $said in
    '' | 'unable to retrieve container logs'*) ;;
    *)
      printf '%s\n' "$said" | cut -c 1-300
      return
      ;;
    esac
  done
  return 1
}

# Of the pod that has ended most often, or is not ready. One that ends at once is ready in between, and has said nothing yet.
say_what_fails() {
  pods | sort -k 4,4nr -k 3,3 | while read -r name node ready restarts; do
    if [ "$ready" = True ] && [ "${restarts:-0}" -eq 0 ]; then continue; fi
    echo "kube-proxy on $node ($name) said last:"
    # One that starts again has said nothing for a moment.
    again last_words "$name"
    break
  done
}

found=$(system get configmap kube-proxy --output "jsonpath={.metadata.annotations.$unfinished}|{.data.config\.conf}") ||
  stop "its ConfigMap was not read"
if [ "${found#*|}" != "$(cat "$work/old")" ]; then stop "its ConfigMap was changed meanwhile, so run this again"; fi
if [ -z "${found%%|*}" ]; then
  # An earlier run was cut off before it changed anything, or after it had ended its change.
  if [ "$back" = "$patch" ]; then exit 0; fi
  if ! counts | awk -F '|' '{exit !($3 == $5 + 0)}'; then
    say_what_fails
    stop "kube-proxy does not run on every node"
  fi
fi
pods > "$work/before" || stop "its pods were not read"
template=$(system get daemonset kube-proxy --output "jsonpath={.spec.template.metadata.annotations.$annotation}") ||
  stop "its DaemonSet was not read"

if again system patch configmap kube-proxy --type merge --patch-file "$work/new.json" > /dev/null &&
  mark "\"$(sha256sum < "$work/new.json" | cut -c 1-63)\"" && rolled_out; then
  if finish; then exit 0; fi
  echo "every kube-proxy runs with it, but the ConfigMap kube-proxy still says that the change has not ended; run this again"
  exit 1
fi
say_what_fails
# Without an annotation, the pods that are left have none either.
if [ -n "$template" ]; then template="\"$template\""; else template=null; fi
# What an earlier run has put in may be the only configuration that is left.
if [ "$back" = "$patch" ]; then
  echo "kube-proxy does not run on every node"
  exit 1
fi
# The pod that ended stays until it is replaced.
if pods > "$work/now"; then mv "$work/now" "$work/before"; fi
if ! again system patch configmap kube-proxy --type merge --patch-file "$work/back.json" > /dev/null; then
  echo "the old configuration could not be put back, and the ConfigMap kube-proxy may have the new one"
elif mark "$template" && rolled_out; then
  if ! finish; then echo "the ConfigMap kube-proxy still says that the change has not ended"; fi
  echo "the old configuration was put back, and kube-proxy runs on every node again"
else
  echo "the old configuration was put back, but kube-proxy does not run on every node: kubectl --namespace kube-system get pods"
fi
exit 1
