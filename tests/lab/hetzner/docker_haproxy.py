"""haproxy configuration for Hetzner's load balancers. Nothing here talks to docker."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.lab.hetzner.backend import BackendError

CONFIGURATION_FILE = "/etc/haproxy/haproxy.cfg"
STATISTICS = "show stat -1 4 -1"
"""The command for haproxy's socket whose output `health` reads: all servers of all proxies."""

_PREFIX = "port-"

_GLOBAL = """\
global
  stats socket /run/haproxy.sock mode 600 level admin
  server-state-file /run/haproxy.state
  max-spread-checks 1
defaults
  mode tcp
  balance roundrobin
  load-server-state-from-file global
  option redispatch
  timeout connect 5s
  timeout client 1h
  timeout server 1h
"""


def configuration(*, services: Sequence[Mapping[str, Any]], targets: Sequence[str]) -> str:
    """Return haproxy's configuration for services in the API's format and the addresses of all targets."""
    lines = [line for service in services for line in _service(service, targets=targets)]
    return _GLOBAL + "".join(f"{line}\n" for line in lines)


def health(statistics: str) -> dict[tuple[str, int], bool]:
    """Return whether haproxy's statistics show each (target, listen port) as healthy and checked."""
    rows = csv.DictReader(statistics.lstrip("# ").splitlines())
    return {(row["svname"], int(row["pxname"].removeprefix(_PREFIX))): _is_healthy(row) for row in rows}


def _is_healthy(row: Mapping[str, str]) -> bool:
    # A star means that a check is running; INI, that none has finished yet, although haproxy reports UP.
    return row["status"].startswith("UP") and row["check_status"].lstrip("* ") not in ("", "INI")


def _service(service: Mapping[str, Any], *, targets: Sequence[str]) -> Iterator[str]:
    port, check = service["listen_port"], service["health_check"]
    if service["protocol"] == "https":
        raise BackendError(f"port {port}: the double has no certificates, so no services of protocol https")
    yield f"listen {_PREFIX}{port}"
    yield f"  bind :{port}"
    yield f"  timeout check {check['timeout']}s"
    if check["protocol"] == "http":
        yield from _http_check(check["http"])
    options = [
        f"check port {check['port']} inter {check['interval']}s",
        f"rise {check['retries']} fall {check['retries']}",
        *(["check-ssl verify none"] if _over_tls(check) else []),
        *(["send-proxy-v2"] if service["proxyprotocol"] else []),
    ]
    for target in targets:
        yield f"  server {target} {target}:{service['destination_port']} {' '.join(options)}"


def _over_tls(check: Mapping[str, Any]) -> bool:
    return check["protocol"] == "http" and bool(check["http"].get("tls"))


def _http_check(http: Mapping[str, Any]) -> Iterator[str]:
    codes = "|".join(
        code.replace("?", ".").replace("*", ".*") for code in http.get("status_codes") or ("2??", "3??")
    )
    host = f"ver HTTP/1.1 hdr Host {http['domain']}" if http.get("domain") else "ver HTTP/1.0"
    yield "  option httpchk"
    yield f"  http-check send meth GET uri {http['path']} {host}"
    yield f"  http-check expect rstatus ^({codes})$"
    if http.get("response"):
        text = http["response"].replace("\\", "\\\\").replace('"', '\\"')
        yield f'  http-check expect string "{text}"'
