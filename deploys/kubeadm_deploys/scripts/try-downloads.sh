#!/bin/sh
# $1 the URL of the Kubernetes apt repository's key, or nothing, other arguments are URLs to try: of files, and of
# images' manifests; stdin has the proxies for http and https, and the hosts to reach without them with commas, each in
# a line, because a proxy's URL may contain a password
key=$1
shift
read -r http_proxy
read -r https_proxy
read -r no_proxy
export http_proxy https_proxy no_proxy
newline="
"
began=$(date +%s)
has() { command -v "$1" > /dev/null 2>&1; }
# Splits the host $1, with or without a port, into $server and $port.
split() {
  server=$1
  case $server in
    \[*\]:*|[!\[]*:*) port=${server##*:}; server=${server%:*} ;;
  esac
  server=${server#\[}; server=${server%\]}
}
# Sets status to curl's exit code, answer to the status of the last answer and its URL after redirects, and said to
# curl's message. Arguments are curl's. All requests of a probe together take about ten seconds.
ask() {
  answer='0 -'
  seconds=$((began + 10 - $(date +%s)))
  if [ "$seconds" -lt 1 ]; then seconds=1; fi
  printed=$(curl --silent --show-error --location --max-redirs 5 --max-time "$seconds" \
    --write-out '\n%{http_code} %{url_effective}' "$@" 2>&1)
  status=$?
  said=${printed%"$newline"*}
  if [ "$said" != "$printed" ]; then answer=${printed##*"$newline"}; fi
}
is_well() { [ "$status" = 0 ] && [ "${answer%% *}" -lt 400 ]; }
# Asks for the manifest at the URL $1, and for the first byte of one of its blobs: registries send clients to other
# servers for blobs. Many want a token, which anybody gets. $work is a folder for answers.
ask_image() {
  image=${1%/manifests/*}
  token=
  get "$1"
  if [ "${answer%% *}" = 401 ] && realm=$(parameter realm) && [ -n "$realm" ]; then
    ask --output "$work/body" --get --data-urlencode "service=$(parameter service)" \
      --data "scope=repository:${image#*/v2/}:pull" "$realm"
    is_well || return 0
    token=$(sed -n 's/.*"\(access_\)\{0,1\}token" *: *"\([^"]*\)".*/\2/p' "$work/body")
    get "$1"
  fi
  is_well || return 0
  # An image for several architectures has a manifest for each.
  if grep -q '"manifests"' "$work/body"; then
    get "$image/manifests/$(digest)"
    is_well || return 0
  fi
  get "$image/blobs/$(digest)" --range 0-0
}
get() {
  ask --output "$work/body" --dump-header "$work/headers" --header "Accept: $manifests" \
    ${token:+--header} ${token:+"Authorization: Bearer $token"} "$@"
}
manifests=$(printf 'application/vnd.%s+json, ' oci.image.index.v1 oci.image.manifest.v1 \
  docker.distribution.manifest.list.v2 docker.distribution.manifest.v2)'*/*'
parameter() { sed -n "s/^www-authenticate: *bearer .*$1=\"\([^\"]*\)\".*/\1/Ip" "$work/headers"; }
digest() { grep -o '"digest" *: *"[^"]*"' "$work/body" | head -n 1 | cut -d '"' -f 4; }
# Prints the URL, curl's exit code, the status of the last answer, its URL after redirects, the proxy's host and
# port, and curl's message.
probe() {
  answer='0 -' status=0 said=
  case $1 in https:*) port=443; proxy=$https_proxy ;; *) port=80; proxy=$http_proxy ;; esac
  host=${1#*://}
  split "${host%%/*}"
  case ",$no_proxy," in *",$server,"*) proxy= ;; esac
  proxy=${proxy#*://}; proxy=${proxy##*@}
  if has curl; then
    case $1 in
      */v2/*/manifests/*) if work=$(mktemp -d); then ask_image "$1"; rm -rf "$work"; fi ;;
      *) ask --head --output /dev/null "$1" ;;
    esac
  else
    # As curl: 5 for a proxy and 6 for a server without an address, 7 for one that does not answer.
    unknown=6
    if [ -n "$proxy" ]; then unknown=5; split "$proxy"; fi
    # shellcheck disable=SC2016 # bash expands them from its own arguments.
    if ! timeout 8 getent ahosts "$server" > /dev/null 2>&1; then
      status=$unknown; said="no address is known for $server"
    elif has bash && ! timeout 8 bash -c ': < "/dev/tcp/$0/$1"' "$server" "$port" 2> /dev/null; then
      status=7; said="$server does not answer on port $port"
    fi
  fi
  printf 'probe:%s %s %s %s %s\n' "$1" "$status" "$answer" "${proxy:--}" "$(printf %s "$said" | tr '\n' ' ')"
}
published_key() {
  work=$(mktemp -d) || return
  {
    if [ -n "$http_proxy" ]; then echo "Acquire::http::Proxy \"$http_proxy\";"; fi
    if [ -n "$https_proxy" ]; then echo "Acquire::https::Proxy \"$https_proxy\";"; fi
    for host in $(printf %s "$no_proxy" | tr , ' '); do
      echo "Acquire::http::Proxy::$host \"DIRECT\"; Acquire::https::Proxy::$host \"DIRECT\";"
    done
  } > "$work/apt.conf"
  if timeout 8 /usr/lib/apt/apt-helper -qq -c "$work/apt.conf" -o Acquire::Retries=0 download-file "$key" "$work/key" \
    > /dev/null 2>&1; then
    echo "published-key $(base64 -w 0 "$work/key")"
  fi
  rm -rf "$work"
}
for url in "$@"; do probe "$url" & done
if [ -n "$key" ]; then published_key & fi
wait
