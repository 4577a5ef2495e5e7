# shellcheck shell=sh
# The files in /etc/containerd/conf.d may contain passwords, so nothing of them is printed but what is wrong.

# Prints each file with which containerd would not serve Kubernetes, and why.
broken_drop_ins() {
  containerd=/usr/local/bin/containerd
  for path in /etc/containerd/conf.d/*.toml; do
    if [ ! -e "$path" ] || [ ! -x "$containerd" ]; then continue; fi
    if dumped=$("$containerd" --config "$path" config dump 2>&1); then
      case $dumped in
        # containerd starts with them, but its CRI plugin does not.
        *.registry.mirrors.*) echo "$path has registry.mirrors, which excludes the config_path of /etc/containerd/config.toml" ;;
      esac
    else
      echo "$path $(printf '%s\n' "$dumped" | tail -n 1 | sed 's/^containerd: //')"
    fi
  done
}

# Fails, and says why, if containerd would not serve Kubernetes after a restart.
check_containerd_configuration() {
  broken=$(broken_drop_ins | sed 's/ /: /')
  if [ -n "$broken" ]; then _refuse "$broken; correct the file or move it away" || return; fi
  if ! dumped=$(/usr/local/bin/containerd config dump 2>&1); then
    _refuse "$(printf '%s\n' "$dumped" | tail -n 1 | sed 's/^containerd: //')" || return
  fi
  for setting in 'SystemdCgroup = true' 'config_path = .*/etc/containerd/certs\.d'; do
    printf '%s\n' "$dumped" | grep -q "$setting" ||
      _refuse "a file in /etc/containerd/conf.d removes '$setting' from containerd's configuration: before 2.0 it replaces \
whole plugins; repeat there what /etc/containerd/config.toml has" || return
  done
}

_refuse() {
  echo "$1; containerd was not restarted" >&2
  return 1
}
