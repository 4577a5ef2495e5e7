# shellcheck shell=sh
# What other software left on a machine and would override this project's settings. A clean machine prints nothing.

. library/containerd-drop-ins.sh

leftovers() {
  for path in /etc/cni/net.d/*.conf /etc/cni/net.d/*.conflist /etc/cni/net.d/*.json; do
    if [ -e "$path" ]; then echo "cni-configuration:${path##*/}"; fi
  done
  arguments=$(sed -n 's/^ *\(export  *\)\{0,1\}KUBELET_EXTRA_ARGS=//p' /etc/default/kubelet 2> /dev/null | tail -n 1 | tr -d "\"'")
  if [ -n "$arguments" ]; then echo "kubelet-arguments $arguments"; fi
  for path in /etc/systemd/system/kubelet.service /etc/systemd/system/kubelet.service.d/*.conf; do
    if [ -f "$path" ] && [ "${path##*/}" != 20-kubeadm-deploys.conf ]; then echo "kubelet-unit:$path"; fi
  done
  grep -ls '^ *ExecStart=' /etc/systemd/system/containerd.service.d/*.conf | sed 's/^/containerd-unit:/'
  # Files of all folders are applied in the order of their names; /etc/sysctl.conf by "sysctl --system", as the last.
  grep -sHE '^ *-?net[./](ipv4[./]ip_forward|ipv4[./]conf[./]all[./]forwarding|bridge[./]bridge-nf-call-ip6?tables) *= *0' \
    /etc/sysctl.conf /etc/sysctl.d/*.conf /run/sysctl.d/*.conf /usr/local/lib/sysctl.d/*.conf /usr/lib/sysctl.d/*.conf |
    awk -F: '{name = $1; sub(".*/", "", name)
      if (name == "sysctl.conf" || name > "k8s.conf") {key = $2; gsub("[ -]*=.*|^[ -]*", "", key); print "sysctl-file:" $1, key}}'
  grep -sHE '^ *(blacklist +(overlay|br_netfilter|vxlan)|install +(overlay|br_netfilter|vxlan) +(/usr)?/bin/(false|true))( |$)' \
    /etc/modprobe.d/*.conf /run/modprobe.d/*.conf /usr/lib/modprobe.d/*.conf |
    awk -F: '{split($2, words, " "); print "blocked-module:" words[2], $1}'
  # deb822 and one-line sources that are enabled, each with the first URL of the repository.
  for path in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
    if [ -f "$path" ] && ! grep -qix 'enabled: *no' "$path"; then
      url=$(grep -v '^ *#' "$path" | grep -o 'https\{0,1\}://[^ ]*/core:/stable:/[^ ]*' | head -n 1)
      if [ -n "$url" ]; then echo "apt-source:$path $url"; fi
    fi
  done
  # Only their names: the values may contain passwords.
  sed -n 's/^ *\(export  *\)\{0,1\}\([A-Za-z]*_[Pp][Rr][Oo][Xx][Yy]\)=..*/environment-proxy:\2/p' /etc/environment 2> /dev/null |
    grep -vix environment-proxy:no_proxy
  if grep -qsix 'ENABLED=yes' /etc/ufw/ufw.conf; then echo 'firewall:ufw'; fi
  if systemctl is-active --quiet firewalld 2> /dev/null; then echo 'firewall:firewalld'; fi
  nft list chains 2> /dev/null | awk '
    $1 == "table" {table = $2 " " $3}
    $1 == "chain" {chain = $2}
    /hook input/ && /policy drop/ {print "firewall:nftables chain " table " " chain}'
  if systemctl is-active --quiet NetworkManager 2> /dev/null &&
    ! grep -qs 'unmanaged-devices.*cali' /etc/NetworkManager/conf.d/*.conf; then
    echo 'network-manager:NetworkManager'
  fi
  if systemctl is-active --quiet systemd-networkd 2> /dev/null; then
    for path in /etc/systemd/network/*.network; do
      if grep -qsx 'Name=\*' "$path"; then echo "network-manager:$path"; fi
    done
  fi
  broken_drop_ins | sed 's/^/containerd-drop-in:/'
}
