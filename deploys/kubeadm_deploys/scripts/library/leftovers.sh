# shellcheck shell=sh
# What other software left on a machine and would override this project's settings. A clean machine prints nothing.

. library/containerd-drop-ins.sh

leftovers() {
  for path in /etc/cni/net.d/*.conf /etc/cni/net.d/*.conflist /etc/cni/net.d/*.json; do
    if [ -e "$path" ]; then echo "cni-configuration:${path##*/}"; fi
  done
  if [ -e /etc/default/kubelet ]; then
    awk '/^ *(export +)?KUBELET_EXTRA_ARGS=/ {sub(/^[^=]*=/, ""); gsub(/["\047]/, ""); last = $0}
      END {if (last != "") print "kubelet-arguments", last}' /etc/default/kubelet
  fi
  for path in /etc/systemd/system/kubelet.service /etc/systemd/system/kubelet.service.d/*.conf; do
    if [ -f "$path" ] && [ "${path##*/}" != 20-kubeadm-deploys.conf ]; then echo "kubelet-unit:$path"; fi
  done
  for path in /etc/systemd/system/containerd.service.d/*.conf; do
    if grep -qs '^ *ExecStart=' "$path"; then echo "containerd-unit:$path"; fi
  done
  # Files of all folders are applied in the order of their names; /etc/sysctl.conf by "sysctl --system", as the last.
  grep -sHE '^ *-?net[./](ipv4[./]ip_forward|ipv4[./]conf[./]all[./]forwarding|bridge[./]bridge-nf-call-ip6?tables) *= *0' \
    /etc/sysctl.conf /etc/sysctl.d/*.conf /run/sysctl.d/*.conf /usr/local/lib/sysctl.d/*.conf /usr/lib/sysctl.d/*.conf |
    awk -F: '{name = $1; sub(".*/", "", name)
      if (name == "sysctl.conf" || name > "k8s.conf") {key = $2; gsub("[ -]*=.*|^[ -]*", "", key); print "sysctl-file:" $1, key}}'
  grep -sHE '^ *(blacklist +(overlay|br_netfilter|vxlan)|install +(overlay|br_netfilter|vxlan) +(/usr)?/bin/(false|true))( |$)' \
    /etc/modprobe.d/*.conf /run/modprobe.d/*.conf /usr/lib/modprobe.d/*.conf |
    awk -F: '{split($2, words, " "); print "blocked-module:" words[2], $1}'
  _apt_sources
  # Only their names: the values may contain passwords.
  if [ -e /etc/environment ]; then
    sed -n '/^ *\(export  *\)\{0,1\}no_proxy=/Id
      s/^ *\(export  *\)\{0,1\}\([A-Za-z]*_[Pp][Rr][Oo][Xx][Yy]\)=..*/environment-proxy:\2/p' /etc/environment
  fi
  if grep -qsix 'ENABLED=yes' /etc/ufw/ufw.conf; then echo 'firewall:ufw'; fi
  # Their states, in this order.
  # shellcheck disable=SC2046 # A state is one word.
  set -- $(systemctl is-active firewalld NetworkManager systemd-networkd 2> /dev/null)
  if [ "$1" = active ]; then echo 'firewall:firewalld'; fi
  nft list chains 2> /dev/null | awk '
    $1 == "table" {table = $2 " " $3}
    $1 == "chain" {chain = $2}
    /hook input/ && /policy drop/ {print "firewall:nftables chain " table " " chain}'
  if [ "$2" = active ] && ! grep -qs 'unmanaged-devices.*cali' /etc/NetworkManager/conf.d/*.conf; then
    echo 'network-manager:NetworkManager'
  fi
  if [ "$3" = active ]; then
    for path in /etc/systemd/network/*.network; do
      if grep -qsx 'Name=\*' "$path"; then echo "network-manager:$path"; fi
    done
  fi
  broken_drop_ins | sed 's/^/containerd-drop-in:/'
}

# deb822 and one-line sources that are enabled, each with the first URL of the repository.
_apt_sources() {
  set --
  for path in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
    if [ -f "$path" ]; then set -- "$@" "$path"; fi
  done
  if [ $# -eq 0 ]; then return; fi
  awk 'tolower($0) ~ /^enabled: *no$/ {disabled[FILENAME] = 1}
    !/^ *#/ && !(FILENAME in url) && match($0, /https?:\/\/[^ ]*\/core:\/stable:\/[^ ]*/) {
      url[FILENAME] = substr($0, RSTART, RLENGTH)
    }
    END {for (path in url) if (!(path in disabled)) print "apt-source:" path, url[path]}' "$@"
}
