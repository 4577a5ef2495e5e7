#!/bin/sh
# $1 the programs and $2 the paths of the disks, both separated by blanks, $3 the folder of kept etcd data
#
# The lines of a missing program are left out, or read from the kernel's own files.
#
. library/first-line.sh
. library/leftovers.sh
now() { date +%s.%N; }
has() { command -v "$1" > /dev/null 2>&1; }
echo "started $(now)"
tools=$1 disks=$2 saved=$3
# shellcheck source=/dev/null
(. /etc/os-release && echo "os $ID ${VERSION_ID:-}") 2> /dev/null
echo "architecture $(dpkg --print-architecture 2> /dev/null || uname -m)"
# shellcheck disable=SC2046 # Neither name has blanks.
set -- $(uname -n -r)
hostname=$1 release=$2
echo "kernel $release"
echo "container $(systemd-detect-virt --container 2> /dev/null)"
if [ -d /run/systemd/system ]; then echo 'systemd yes'; else echo 'systemd no'; fi
for tool in $tools; do has "$tool" || echo "missing:$tool"; done

can_load() { grep -qs "/$1\.ko" "/lib/modules/$release/modules.dep" "/lib/modules/$release/modules.builtin"; }
grep -qw overlay /proc/filesystems || can_load overlay || echo no-module:overlay
[ -d /proc/sys/net/bridge ] || can_load br_netfilter || echo no-module:br_netfilter
case $(stat -f -c %T /sys/fs/cgroup 2> /dev/null) in
  cgroup2fs) first_line /sys/fs/cgroup/cgroup.controllers; echo "cgroup 2 $line" ;;
  tmpfs) echo "cgroup 1 $(awk '$1 !~ /^#/ && $4 != 0 {printf "%s ", $1}' /proc/cgroups)" ;;
esac
first_line /proc/meminfo
# shellcheck disable=SC2086 # MemTotal: 2014840 kB
set -- $line
echo "memory $2"
echo "cpus $(nproc 2> /dev/null)"
set --
for path in $disks; do
  until [ -e "$path" ]; do path=${path%/*}; path=${path:-/}; done
  set -- "$@" "$path"
done
# Without a line for each of them it is not known which one is missing.
df -P -k "$@" 2> /dev/null | awk -v paths="$disks" 'NR > 1 {disk[NR - 1] = $4 " " $2 " " $6}
  END {if (split(paths, path, " ") == NR - 1) for (number in disk) print "disk:" path[number], disk[number]}'

echo "hostname $hostname"
first_line /etc/machine-id
echo "machine-id $line"
first_line /sys/class/dmi/id/product_uuid
echo "product-uuid $line"
for each in /sys/class/net/*/address; do
  case $each in */cali*|*/veth*) continue ;; esac
  each=${each%/address}
  first_line "$each/mtu"
  echo "mtu:${each##*/} $line"
  case $each in */lo) continue ;; esac
  first_line "$each/address"
  echo "mac:${each##*/} $line"
done
if has ip; then
  ip -oneline -4 address show 2> /dev/null | awk '{sub("/.*", "", $4); print "address:" $4, $2}'
  ip -4 route show table all 2> /dev/null | sed -nE '/^(local|broadcast|multicast|anycast|default) /!s/^/route /p'
  # Calico's pods have this gateway, for which a node answers only if it has a route to it.
  ip -4 route get 169.254.1.1 > /dev/null 2>&1 || echo 'no-gateway-route yes'
else
  awk '$1 == "|--" {found = $2} /\/32 host LOCAL/ {print "address:" found}' /proc/net/fib_trie 2> /dev/null
  awk 'NR > 1 {print "kernel-route", $1, $2, $8}' /proc/net/route 2> /dev/null
fi
if has ss; then
  ss -H --listening --tcp --numeric --processes 2> /dev/null | awk '{
    sub(".*:", "", $4); process = ""
    if (match($0, /\(\("[^"]*"/)) process = substr($0, RSTART + 3, RLENGTH - 4)
    print "listener", $4, process }'
else
  # State 0A is LISTEN.
  cat /proc/net/tcp /proc/net/tcp6 2> /dev/null | awk '$4 == "0A" {sub(".*:", "", $2); print "kernel-listener", $2}'
fi

# Processes of pods are visible too, but are in another PID namespace.
grep -lxE 'crio|k3s|k3s-(server|agent)|rke2|k0s|kubelite' /proc/[0-9]*/comm 2> /dev/null | while read -r path; do
  if [ "$(readlink "${path%/comm}/ns/pid")" = "$(readlink /proc/self/ns/pid)" ]; then echo "process:$(cat "$path")"; fi
done
for path in /var/lib/rancher/k3s /var/lib/rancher/rke2 /var/snap/microk8s /var/lib/k0s; do
  if [ -d "$path" ] && [ -n "$(ls -A "$path")" ]; then echo "data:$path"; fi
done
# shellcheck disable=SC2012 # ls is enough to count IDs; find may be missing.
if [ -r /var/lib/docker/containers ]; then echo "docker $(ls /var/lib/docker/containers | wc -l)"; fi
# Every running container has a folder here, below containerd's namespace.
for path in /run/containerd/io.containerd.runtime.v2.task/*; do
  if ! [ -d "$path" ]; then continue; fi
  set -- "$path"/*
  if ! [ -e "$1" ]; then set --; fi
  echo "tasks:${path##*/} $#"
done
for path in /var/lib/etcd/* /var/lib/etcd/.[!.]* /var/lib/etcd/..?*; do
  if ! [ -e "$path" ] && ! [ -L "$path" ]; then continue; fi
  case ${path##*/} in lost+found|"${saved##*/}") ;; *) echo "etcd-entry:${path##*/}" ;; esac
done

leftovers

kubelet=$(dpkg-query --show --showformat '${db:Status-Status} ${Version}' kubelet 2> /dev/null)
case $kubelet in 'installed '*) echo "kubelet ${kubelet#installed }" ;; esac
echo "api-server $(sed -n 's/^ *image: .*\/kube-apiserver:v//p' /etc/kubernetes/manifests/kube-apiserver.yaml 2> /dev/null)"
echo "finished $(now)"
exit 0
