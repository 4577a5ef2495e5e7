#!/bin/sh
# $1 the name of the API endpoint, searched in /etc/hosts, other arguments are more paths to search
. library/cluster-traces.sh
cluster_interfaces | sed 's/^/interface /'
cluster_mounts | sed 's/^/mount /'
for save in iptables-save ip6tables-save; do
  if command -v $save > /dev/null; then
    rules=$($save 2> /dev/null | grep --count --extended-regexp "$cluster_rules")
    if [ "$rules" -gt 0 ]; then echo "rules $rules lines of $save"; fi
  fi
done
if command -v ip > /dev/null; then ip route show proto 80 | sed 's/^/route /'; fi
endpoint=$1
shift
print_existing() {
  for path in "$@"; do
    if [ -e "$path" ]; then echo "file $path"; fi
  done
}
with_cluster_files print_existing
print_existing "$@"
if grep --quiet --word-regexp --fixed-strings -- "$endpoint" /etc/hosts; then echo 'name in /etc/hosts'; fi
