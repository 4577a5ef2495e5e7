#!/bin/sh
# $1 names of CNI plugins, separated by blanks, other arguments are files whose checksums are printed
. library/print-files.sh
. library/containerd.sh
plugins=$1
shift
echo "architecture $(dpkg --print-architecture)"
echo "container $(systemd-detect-virt --container 2>/dev/null)"
if command -v curl >/dev/null; then echo 'curl present'; fi
release() { sed -n 's/.*\bv\?\([0-9]\+\.[0-9]\+\.[0-9]\+\).*/\1/p' | head -n 1; }
for binary in containerd containerd-shim-runc-v2 ctr; do
  path=/usr/local/bin/$binary
  if [ -x "$path" ]; then
    case $binary in containerd-shim*) flag=-v ;; *) flag=--version ;; esac
    echo "version:$binary $("$path" $flag 2>/dev/null | release)"
  fi
done
if [ -x /usr/local/sbin/runc ]; then echo "version:runc $(/usr/local/sbin/runc --version 2>/dev/null | head -n 1 | release)"; fi
# Only the plugins of the release: those that a pod network adds are large programs. A CNI plugin that is started without
# a command prints its name and version, like "CNI bridge plugin v1.9.1"; the shell takes it apart, because there are
# many plugins and each further program costs as much as one of them.
for plugin in $plugins; do
  if [ -x "/opt/cni/bin/$plugin" ]; then
    printed=$(timeout 5 "/opt/cni/bin/$plugin" < /dev/null 2>&1)
    version=${printed#*CNI * plugin }
    if [ "$version" = "$printed" ]; then version=; fi
    version=${version#v}
    echo "plugin:$plugin ${version%%[!0-9.]*}"
  fi
done
unit=$(systemctl show containerd.service --property=ActiveState,UnitFileState,MainPID,ExecMainStartTimestamp)
show() { printf '%s\n' "$unit" | sed -n "s/^$1=//p"; }
echo "active $(show ActiveState)"
echo "enabled $(show UnitFileState)"
if [ "$(show ActiveState)" = active ]; then
  pid=$(show MainPID)
  started=$(date -d "$(show ExecMainStartTimestamp)" +%s)
  echo "running $(readlink "/proc/$pid/exe")"
  if command -v crictl >/dev/null; then
    echo "systemd_cgroup $(runtime info --output go-template \
      --template '{{.config.containerd.runtimes.runc.options.SystemdCgroup}}' 2>/dev/null)"
  fi
  # A folder changes when a file is added or removed.
  for path in /etc/containerd/config.toml /etc/systemd/system/containerd.service /etc/containerd/conf.d /etc/containerd/conf.d/*.toml; do
    if [ "$(stat -c %Y "$path" 2>/dev/null || echo 0)" -gt "$started" ]; then echo "stale $path"; fi
  done
fi
case $(stat --dereference --format %A /etc/containerd/config.toml 2>/dev/null) in ''|-???------) ;; *) echo 'config-readable yes' ;; esac
for path in /etc/containerd/certs.d/*/hosts.toml; do
  if [ -e "$path" ]; then
    case $(head -n 1 "$path") in '# Written by kubeadm-deploys'*) echo "registry:$path ours" ;; *) echo "registry:$path theirs" ;; esac
  fi
done
print_files "$@"
