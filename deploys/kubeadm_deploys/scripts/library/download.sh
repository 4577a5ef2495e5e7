# shellcheck shell=sh
. library/proxies.sh

# Fetches the URL $1, which must have the sha256 $2, to $work/download. $work is a temporary folder in the
# destination folder $3, so on the same filesystem; it is removed however the script ends.
download() {
  mkdir -p "$3"
  # Left by killed runs.
  rm -rf "$3"/.kubeadm-deploys.*
  work=$(mktemp -d "$3/.kubeadm-deploys.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  with_proxies curl --fail --silent --show-error --location --retry 3 --connect-timeout 15 --speed-limit 1024 \
    --speed-time 60 --output "$work/download" "$1" || {
    if [ $? -eq 23 ]; then echo "cannot write the download below $3: $(df -h "$3" | tail -n 1)" >&2; fi
    echo "cannot fetch $1" >&2
    exit 1
  }
  found=$(sha256sum < "$work/download" | cut -c1-64)
  if [ "$found" != "$2" ]; then
    echo "$1 has sha256 $found, expected $2; it was not installed" >&2
    exit 1
  fi
}
