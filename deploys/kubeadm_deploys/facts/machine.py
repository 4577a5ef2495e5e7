"""What a machine is before anything is made of it: its size, its kernel, its neighbours, and who else uses it."""

import base64
import ipaddress
import itertools
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pyinfra.api import FactBase
from pyinfra.api.command import QuoteString, StringCommand
from typing_extensions import override

from kubeadm_deploys.facts import lines
from kubeadm_deploys.facts.kubeadm_node import SAVED_ETCD

PORTS = (6443, 2379, 2380, 10250, 10257, 10259)
"""Ports that a node's own programs listen on: API server, etcd's two, kubelet, controller manager, scheduler."""

DISKS = ("/", "/var/lib/containerd", "/var/lib/kubelet", "/var/lib/etcd")

TOOLS = ("apt-get", "dpkg", "ip", "systemctl")
"""What the sections use before they install anything."""

# $1 is the Kubernetes release that is wanted, $2 where its repository's key is; URLs to try follow. A program that is missing leaves its lines out,
# or the kernel's own files say the same.
_SCRIPT = rf"""
now() {{ date +%s.%N; }}
has() {{ command -v "$1" > /dev/null 2>&1; }}
echo "started $(now)"
wanted=$1
key=$2
shift 2
(. /etc/os-release && echo "os $ID ${{VERSION_ID:-}}") 2> /dev/null
echo "architecture $(dpkg --print-architecture 2> /dev/null || uname -m)"
release=$(uname -r)
echo "kernel $release"
echo "container $(systemd-detect-virt --container 2> /dev/null)"
if [ -d /run/systemd/system ]; then echo 'systemd yes'; else echo 'systemd no'; fi
for tool in {" ".join(TOOLS)}; do has "$tool" || echo "missing:$tool"; done

can_load() {{ grep -qs "/$1\.ko" "/lib/modules/$release/modules.dep" "/lib/modules/$release/modules.builtin"; }}
grep -qw overlay /proc/filesystems || can_load overlay || echo no-module:overlay
[ -d /proc/sys/net/bridge ] || can_load br_netfilter || echo no-module:br_netfilter
case $(stat -f -c %T /sys/fs/cgroup 2> /dev/null) in
  cgroup2fs) echo "cgroup 2 $(cat /sys/fs/cgroup/cgroup.controllers)" ;;
  tmpfs) echo "cgroup 1 $(awk '$1 !~ /^#/ && $4 != 0 {{printf "%s ", $1}}' /proc/cgroups)" ;;
esac
echo "memory $(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)"
echo "cpus $(nproc 2> /dev/null)"
for path in {" ".join(DISKS)}; do
  there=$path
  until [ -e "$there" ]; do there=${{there%/*}}; there=${{there:-/}}; done
  echo "disk:$path $(df -P -k "$there" 2> /dev/null | awk 'NR == 2 {{print $4, $2, $6}}')"
done

echo "hostname $(cat /proc/sys/kernel/hostname)"
echo "machine-id $(cat /etc/machine-id 2> /dev/null)"
echo "product-uuid $(cat /sys/class/dmi/id/product_uuid 2> /dev/null)"
for each in /sys/class/net/*/address; do
  case $each in */cali*|*/veth*|*/lo/*) continue ;; esac
  each=${{each%/address}}
  echo "mac:${{each##*/}} $(cat "$each/address" 2> /dev/null)"
done
if has ip; then
  ip -oneline -4 address show 2> /dev/null | awk '{{sub("/.*", "", $4); print "address:" $4, $2}}'
  ip -4 route show table all 2> /dev/null | grep -vE '^(local|broadcast|multicast|anycast|default) ' | sed 's/^/route /'
else
  awk '$1 == "|--" {{found = $2}} /\/32 host LOCAL/ {{print "address:" found}}' /proc/net/fib_trie 2> /dev/null
  awk 'NR > 1 {{print "kernel-route", $1, $2, $8}}' /proc/net/route 2> /dev/null
fi
if has ss; then
  ss -H --listening --tcp --numeric --processes 2> /dev/null | awk '{{
    sub(".*:", "", $4); process = ""
    if (match($0, /\(\("[^"]*"/)) process = substr($0, RSTART + 3, RLENGTH - 4)
    print "listener", $4, process }}' | sort -u
else
  # State 0A is LISTEN.
  cat /proc/net/tcp /proc/net/tcp6 2> /dev/null | awk '$4 == "0A" {{sub(".*:", "", $2); print "kernel-listener", $2}}' | sort -u
fi

# Those of pods are seen from here too, but have process IDs of their own.
grep -lxE 'crio|k3s|k3s-(server|agent)|rke2|k0s|kubelite' /proc/[0-9]*/comm 2> /dev/null | while read -r path; do
  if [ "$(readlink "${{path%/comm}}/ns/pid")" = "$(readlink /proc/self/ns/pid)" ]; then echo "process:$(cat "$path")"; fi
done
for path in /var/lib/rancher/k3s /var/lib/rancher/rke2 /var/snap/microk8s /var/lib/k0s; do
  if [ -n "$(ls -A "$path" 2> /dev/null)" ]; then echo "data:$path"; fi
done
if [ -r /var/lib/docker/containers ]; then echo "docker $(ls /var/lib/docker/containers | wc -l)"; fi
# Whatever runs in a container has its folder here, by containerd's namespaces.
for path in /run/containerd/io.containerd.runtime.v2.task/*; do
  if [ -d "$path" ]; then echo "tasks:${{path##*/}} $(ls "$path" | wc -l)"; fi
done
ls -A /var/lib/etcd 2> /dev/null | grep -vxF -e lost+found -e {PurePosixPath(SAVED_ETCD).name} | sed 's/^/etcd-entry:/'

kubelet=$(dpkg-query --show --showformat '${{db:Status-Status}} ${{Version}}' kubelet 2> /dev/null)
case $kubelet in 'installed '*) echo "kubelet ${{kubelet#installed }}" ;; esac
echo "api-server $(sed -n 's/^ *image: .*\/kube-apiserver:v//p' /etc/kubernetes/manifests/kube-apiserver.yaml 2> /dev/null)"

# A node that has the wanted release has nothing to fetch.
case $kubelet in "installed $wanted-"*) if [ -e /etc/kubernetes/kubelet.conf ]; then set --; key=; fi ;; esac
probe() {{
  if has curl; then
    said=$(curl --silent --show-error --head --output /dev/null --max-time 8 "$1" 2>&1)
    status=$?
  else
    server=${{1#*://}}; server=${{server%%/*}}
    case $server in
      \[*\]:*|[!\[]*:*) port=${{server##*:}}; server=${{server%:*}} ;;
      *) case $1 in https:*) port=443 ;; *) port=80 ;; esac ;;
    esac
    server=${{server#\[}}; server=${{server%\]}}
    status=0; said=
    if ! timeout 8 getent ahosts "$server" > /dev/null 2>&1; then
      status=6; said="no address is known for $server"
    elif has bash && ! timeout 8 bash -c ': < "/dev/tcp/$0/$1"' "$server" "$port" 2> /dev/null; then
      status=7; said="$server does not answer on port $port"
    fi
  fi
  printf 'probe:%s %s %s\n' "$1" "$status" "$(printf %s "$said" | tr '\n' ' ')"
}}
published_key() {{
  work=$(mktemp -d) || return
  if timeout 8 /usr/lib/apt/apt-helper -qq -o Acquire::Retries=0 download-file "$key" "$work/key" > /dev/null 2>&1; then
    echo "published-key $(base64 -w 0 "$work/key")"
  fi
  rm -rf "$work"
}}
for url in "$@"; do probe "$url" & done
if [ -n "$key" ]; then published_key & fi
wait
echo "finished $(now)"
exit 0
"""


@dataclass(frozen=True, kw_only=True)
class Route:
    """An IPv4 route: to which network, by which device (empty when by none), and who made it (empty if unknown)."""

    network: ipaddress.IPv4Network
    device: str = ""
    protocol: str = ""


@dataclass(frozen=True, kw_only=True)
class Disk:
    """The filesystem of a path: where it is mounted, and how many bytes of its ``size`` are ``free``."""

    mount: str
    free: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Probe:
    """How a URL was answered: curl's exit code, 0 for any answer at all, and what curl said."""

    status: int
    said: str = ""


@dataclass(frozen=True, kw_only=True)
class Clock:
    """How many seconds a machine's clock is ahead of the operator's: surely between ``least`` and ``most``."""

    least: float
    most: float


@dataclass(frozen=True, kw_only=True)
class MachineState:
    """A machine as it is found; what could not be read is empty, zero or None.

    ``os`` is ID and VERSION_ID of /etc/os-release. ``missing_tools`` are programs, ``missing_modules`` those that
    neither work nor can be loaded. ``cgroup`` is the version of the control groups with its ``controllers``,
    ``memory`` in bytes, ``disks`` by path. ``macs`` by interface, ``addresses`` (IPv4) with their interface, and
    ``listeners`` the TCP ports that are listened on, each with the program's name, empty when nobody knows it.

    ``processes`` are those of other runtimes and clusters, ``leftovers`` folders with such a cluster's data,
    ``docker`` the number of Docker's containers (None without Docker's folder), ``tasks`` that of running containers
    by containerd's namespace, ``etcd_entries`` what lies in /var/lib/etcd. ``kubelet`` is the installed package's
    version, ``api_server`` the release that is to run here. ``probes`` by URL are those that had to be made; ``published_key`` is the armoured key of the apt repository, if it was
    needed and could be fetched.
    """

    clock: Clock | None = None
    os: tuple[str, str] = ("", "")
    architecture: str = ""
    kernel: str = ""
    in_container: bool = False
    systemd: bool | None = None
    missing_tools: tuple[str, ...] = ()
    missing_modules: tuple[str, ...] = ()
    cgroup: int = 0
    controllers: frozenset[str] = frozenset()
    memory: int = 0
    cpus: int = 0
    disks: dict[str, Disk] = field(default_factory=dict)
    hostname: str = ""
    machine_id: str = ""
    product_uuid: str = ""
    macs: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    listeners: tuple[tuple[int, str], ...] = ()
    processes: frozenset[str] = frozenset()
    leftovers: tuple[str, ...] = ()
    docker: int | None = None
    tasks: dict[str, int] = field(default_factory=dict)
    etcd_entries: frozenset[str] = frozenset()
    kubelet: str = ""
    api_server: str = ""
    probes: dict[str, Probe] = field(default_factory=dict)
    published_key: str = ""


class Machine(FactBase[MachineState]):
    """All of it in one command, which takes at most about ten seconds when ``urls`` do not answer.

    The machine's clock is compared with this one's. Each reading of it lies between the moments at which the command
    left and its answer came, so the difference is known to within what the connection took.
    """

    def __init__(self) -> None:
        self._asked = 0.0

    @override
    def command(self, kubernetes_version: str, key_url: str, urls: tuple[str, ...]) -> StringCommand:
        # pyinfra asks for the command right before it runs it.
        self._asked = time.time()
        return StringCommand(
            StringCommand("set --", *map(QuoteString, (kubernetes_version, key_url, *urls))),
            _SCRIPT,
            _separator="\n",
        )

    @override
    def process(self, output: list[str]) -> MachineState:
        answered = time.time()
        values = lines.parse(output)
        rows = [line.split() for line in output if line.strip()]
        version, *controllers = values.get("cgroup", "0").split()
        return MachineState(
            clock=_clock(values, asked=self._asked, answered=answered),
            os=_pair(values.get("os", "")),
            architecture={"x86_64": "amd64", "aarch64": "arm64"}.get(
                values.get("architecture", ""), values.get("architecture", "")
            ),
            kernel=values.get("kernel", ""),
            in_container=values.get("container", "none") not in ("none", ""),
            systemd=values["systemd"] == "yes" if "systemd" in values else None,
            missing_tools=tuple(lines.by_prefix(values, "missing:")),
            missing_modules=tuple(lines.by_prefix(values, "no-module:")),
            cgroup=int(version),
            controllers=frozenset(controllers),
            memory=_number(values.get("memory", "")) * 1024,
            cpus=_number(values.get("cpus", "")),
            disks=dict(_disks(lines.by_prefix(values, "disk:"))),
            hostname=values.get("hostname", ""),
            machine_id=values.get("machine-id", ""),
            product_uuid=values.get("product-uuid", "").lower(),
            macs=lines.by_prefix(values, "mac:"),
            addresses=lines.by_prefix(values, "address:"),
            routes=tuple(_routes(rows)),
            listeners=tuple(_listeners(rows)),
            processes=frozenset(lines.by_prefix(values, "process:")),
            leftovers=tuple(lines.by_prefix(values, "data:")),
            docker=_number(values["docker"]) if "docker" in values else None,
            tasks={name: _number(count) for name, count in lines.by_prefix(values, "tasks:").items()},
            etcd_entries=frozenset(lines.by_prefix(values, "etcd-entry:")),
            kubelet=values.get("kubelet", ""),
            api_server=values.get("api-server", ""),
            probes={
                url: Probe(status=_number(status), said=said)
                for url, answer in sorted(lines.by_prefix(values, "probe:").items())
                for status, _, said in [answer.partition(" ")]
            },
            published_key=base64.b64decode(values.get("published-key", "")).decode(errors="replace"),
        )


def _clock(values: dict[str, str], *, asked: float, answered: float) -> Clock | None:
    try:
        started, finished = (float(values[key]) for key in ("started", "finished"))
    except (KeyError, ValueError):
        return None
    # A clock that was set in between leaves no time for both.
    least, most = sorted((finished - answered, started - asked))
    return Clock(least=least, most=most)


def _disks(found: dict[str, str]) -> Iterator[tuple[str, Disk]]:
    for path, value in found.items():
        free, rest = _pair(value)
        size, mount = _pair(rest)
        if free.isdecimal() and size.isdecimal():
            yield path, Disk(mount=mount, free=int(free) * 1024, size=int(size) * 1024)


def _routes(rows: Iterable[list[str]]) -> Iterator[Route]:
    """Routes as iproute2 prints them, or as /proc/net/route has them: hexadecimal, the least byte first."""
    for kind, *words in rows:
        if kind == "kernel-route":
            device, destination, mask = words
            network, netmask = (int.from_bytes(bytes.fromhex(each), "little") for each in (destination, mask))
            # Routes that lead nowhere have no device there; on nodes they are Calico's.
            if netmask and device != "*":
                prefix = f"{ipaddress.IPv4Address(network)}/{ipaddress.IPv4Address(netmask)}"
                yield Route(network=ipaddress.IPv4Network(prefix), device=device)
        elif kind == "route":
            # Routes that lead nowhere have their kind before the network; further hops have a line each, without one.
            target = next((word for word in words[:2] if word[0].isdecimal()), "")
            named = dict(itertools.pairwise(words))
            if target:
                yield Route(
                    network=ipaddress.IPv4Network(target, strict=False),
                    device=named.get("dev", ""),
                    protocol=named.get("proto", ""),
                )


def _listeners(rows: Iterable[list[str]]) -> Iterator[tuple[int, str]]:
    for kind, *words in rows:
        if kind == "listener" and words[0].isdecimal():
            yield int(words[0]), " ".join(words[1:])
        elif kind == "kernel-listener":
            yield int(words[0], 16), ""


def _pair(value: str) -> tuple[str, str]:
    first, _, second = value.partition(" ")
    return first, second


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
