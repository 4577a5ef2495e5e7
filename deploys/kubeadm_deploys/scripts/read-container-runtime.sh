#!/bin/sh
# $1 names of CNI plugins, separated by blanks, other arguments are files whose checksums are printed
. library/first-line.sh
. library/print-files.sh
. library/containerd.sh
plugins=$1
shift
echo "architecture $(dpkg --print-architecture)"
echo "container $(systemd-detect-virt --container 2>/dev/null)"
if command -v curl >/dev/null; then echo 'curl present'; fi
# The first release that each program prints; containerd's module, which it prints before, ends with /v2.
(
  for program in /usr/local/bin/containerd /usr/local/bin/containerd-shim-runc-v2 /usr/local/bin/ctr /usr/local/sbin/runc; do
    if ! [ -x "$program" ]; then continue; fi
    case $program in */containerd-shim*) flag=-v ;; *) flag=--version ;; esac
    echo "== ${program##*/}"
    "$program" $flag 2> /dev/null
  done
) | awk '$1 == "==" {name = $2; next}
  name != "" && match($0, /[0-9]+\.[0-9]+\.[0-9]+/) {print "version:" name, substr($0, RSTART, RLENGTH); name = ""}'
# Only the plugins of the release: those that a pod network adds are large programs. A CNI plugin that is started without
# a command prints its name and version, like "CNI bridge plugin v1.9.1"; the shell takes it apart, because there are
# many plugins and each further program costs as much as one of them.
# shellcheck disable=SC2016 # They are for the inner shell.
timeout 60 sh -c 'for plugin in $1; do
  if [ -x "/opt/cni/bin/$plugin" ]; then
    printed=$("/opt/cni/bin/$plugin" < /dev/null 2>&1)
    version=${printed#*CNI * plugin }
    if [ "$version" = "$printed" ]; then version=; fi
    version=${version#v}
    echo "plugin:$plugin ${version%%[!0-9.]*}"
  fi
done' plugins "$plugins" || { echo "the CNI plugins in /opt/cni/bin did not print their releases within 60 s" >&2; exit 1; }
active='' enabled='' pid='' started=''
while IFS='=' read -r key value; do
  case $key in
    ActiveState) active=$value ;;
    UnitFileState) enabled=$value ;;
    MainPID) pid=$value ;;
    ExecMainStartTimestamp) started=$value ;;
  esac
done << UNIT
$(systemctl show containerd.service --property=ActiveState,UnitFileState,MainPID,ExecMainStartTimestamp)
UNIT
echo "active $active"
echo "enabled $enabled"
if [ "$active" = active ]; then
  started=$(date -d "$started" +%s)
  echo "running $(readlink "/proc/$pid/exe")"
  if command -v crictl >/dev/null; then
    echo "systemd_cgroup $(runtime info --output go-template \
      --template '{{.config.containerd.runtimes.runc.options.SystemdCgroup}}' 2>/dev/null)"
  fi
  # A folder changes when a file is added or removed.
  stat -c '%Y %n' /etc/containerd/config.toml /etc/systemd/system/containerd.service /etc/containerd/conf.d \
    /etc/containerd/conf.d/*.toml 2> /dev/null | while read -r changed path; do
    if [ "$changed" -gt "$started" ]; then echo "stale $path"; fi
  done
fi
case $(stat --dereference --format %A /etc/containerd/config.toml 2>/dev/null) in ''|-???------) ;; *) echo 'config-readable yes' ;; esac
for path in /etc/containerd/certs.d/*/hosts.toml; do
  if [ -e "$path" ]; then
    first_line "$path"
    case $line in '# Written by kubeadm-deploys'*) echo "registry:$path ours" ;; *) echo "registry:$path theirs" ;; esac
  fi
done
print_files "$@"
