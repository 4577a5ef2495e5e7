"""haproxy in a container in place of the official hosts: TLS, tokens and redirects as theirs, the mirror's content.

Sources: the answers of pkgs.k8s.io and github.com; registry.k8s.io's docs/request-handling.md; Distribution
documentation, "Token Authentication Specification".
"""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab import containers, layout
from tests.lab.docker import docker
from tests.lab.hetzner.docker_haproxy import CONFIGURATION_FILE
from tests.lab.hetzner.docker_images import appliance_image
from tests.lab.layout import LABEL

KIND = "official-hosts"
_NAME = f"{LABEL}-{KIND}"
_CERTIFICATE = "/etc/haproxy/official.pem"

PACKAGES, RELEASES, MANIFESTS = "pkgs.k8s.io", "github.com", "raw.githubusercontent.com"
KUBERNETES_IMAGES, QUAY, DOCKER = "registry.k8s.io", "quay.io", "registry-1.docker.io"
DOCKER_TOKENS = "auth.docker.io"
FIRST = (PACKAGES, RELEASES, MANIFESTS, KUBERNETES_IMAGES, QUAY, DOCKER)
"""The hosts that the product's URLs name."""

PACKAGES_TARGET = "prod-cdn.packages.k8s.io"
RELEASES_TARGET = "release-assets.githubusercontent.com"
KUBERNETES_MANIFESTS_TARGET = "europe-west4-docker.pkg.dev"
KUBERNETES_BLOBS_TARGET = "d39mqg4b1dx9z1.cloudfront.net"
QUAY_TARGET = "cdn01.quay.io"
DOCKER_TARGET = "production.cloudflare.docker.com"

CLOSED = "dl.k8s.io"
"""A host of Kubernetes that the product must not need: its connections are closed without an answer."""

NAMES = (
    *FIRST,
    *(PACKAGES_TARGET, RELEASES_TARGET, KUBERNETES_MANIFESTS_TARGET, KUBERNETES_BLOBS_TARGET),
    *(QUAY_TARGET, DOCKER_TARGET, DOCKER_TOKENS, CLOSED),
)
"""All names that lead to the container, for hosts files and the certificate."""

_FAULTS = {"refused": "deny deny_status 403", "silent": "tarpit"}
"""What haproxy does with a request to a host that has a fault."""

_GLOBAL = f"""\
global
  log stdout format raw local0
  stats socket /run/haproxy.sock mode 600 level admin
defaults
  mode http
  log global
  log-format "asked %[var(txn.host)] %ST %HM %HP"
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tarpit 60s
backend mirror
  server mirror {layout.MIRROR_ADDRESS}:80
frontend official
  default_backend mirror
  bind :443 ssl crt {_CERTIFICATE} alpn h2,http/1.1
  http-request set-var(txn.host) req.hdr(host),host_only,lower
"""


class OfficialHosts:
    """The running container."""

    def fault(self, kind: str, *names: str) -> None:
        """Let hosts answer 403 (``refused``) or not answer (``silent``) from now on, and no others."""
        for each in _FAULTS:
            wanted = names if each == kind else ()
            commands = [f"clear acl {_list(each)}", *(f"add acl {_list(each)} {name}" for name in wanted)]
            docker("exec", _NAME, "ask", ";".join(commands))

    @property
    def asked(self) -> set[str]:
        """Names of the hosts that have been asked for anything."""
        lines = docker("logs", _NAME).splitlines()
        # A connection that ended before its request has no name.
        return {line.split()[1] for line in lines if line.startswith("asked ")} - {"-"}


@contextmanager
def official_hosts(*, certificate: str) -> Iterator[OfficialHosts]:
    """Serve ``NAMES`` at ``layout.OFFICIAL_HOSTS_ADDRESS`` with this certificate and its key, as PEM.

    Only one can run per machine: one that a killed run left behind is removed.
    """
    _remove()
    docker(
        *("create", f"--name={_NAME}", f"--label={LABEL}={KIND}", "--entrypoint=load-balancer"),
        *(f"--network={layout.NETWORK}", f"--ip={layout.OFFICIAL_HOSTS_ADDRESS}", appliance_image()),
    )
    try:
        files = {CONFIGURATION_FILE: configuration(), _CERTIFICATE: certificate}
        containers.put(name=_NAME, files={**files, **{_list(fault): "" for fault in _FAULTS}})
        docker("start", _NAME)
        docker("exec", _NAME, "await-load-balancer")
        yield OfficialHosts()
    finally:
        _remove()


def configuration() -> str:
    """Return haproxy's configuration."""
    rules = [
        f"reject unless {_is(*NAMES)} !{_is(CLOSED)}",
        *(f"{action} if {{ var(txn.host) -m str -f {_list(fault)} }}" for fault, action in _FAULTS.items()),
        *_files(PACKAGES, target=PACKAGES_TARGET, folder="/repositories/isv:/kubernetes:"),
        *_files(RELEASES, target=RELEASES_TARGET, folder="/github-production-release-asset"),
        f"set-path /{MANIFESTS}%[path] if {_is(MANIFESTS)}",
        # Asks for no token, and redirects manifests too.
        f"return status 200 if {_is(KUBERNETES_IMAGES)} {{ path /v2/ }}",
        *_blobs(KUBERNETES_IMAGES, target=KUBERNETES_BLOBS_TARGET, code=307),
        _redirect(KUBERNETES_IMAGES, f"https://{KUBERNETES_MANIFESTS_TARGET}", code=307),
        _images(KUBERNETES_MANIFESTS_TARGET, registry=KUBERNETES_IMAGES),
        *_token(QUAY, server=QUAY, path="/v2/auth"),
        *_blobs(QUAY, target=QUAY_TARGET, code=302),
        _images(QUAY, registry=QUAY),
        *_token(DOCKER, server=DOCKER_TOKENS, path="/token"),
        *_blobs(DOCKER, target=DOCKER_TARGET, code=307, registry="docker.io"),
        _images(DOCKER, registry="docker.io"),
    ]
    return _GLOBAL + "".join(f"  http-request {rule}\n" for rule in rules)


def _files(host: str, *, target: str, folder: str) -> Iterator[str]:
    """Yield the rules of a host that redirects every file to another one."""
    yield _redirect(host, f"https://{target}{folder}", code=302)
    yield f"set-path /{host}%[path,regsub(^{folder},)] if {_is(target)}"


def _blobs(host: str, *, target: str, code: int, registry: str = "") -> Iterator[str]:
    """Yield the rules of a registry that redirects blobs to another host."""
    yield f"{_redirect(host, f'https://{target}', code=code)} {{ path_sub /blobs/ }}"
    # Object stores refuse a request that is authorized both by its URL and by a header. Go's client keeps the
    # header for a subdomain.
    if not target.endswith(f".{host}"):
        yield f"deny deny_status 400 if {_is(target)} {{ req.hdr(authorization) -m found }}"
    yield _images(target, registry=registry or host)


def _token(host: str, *, server: str, path: str) -> Iterator[str]:
    """Yield the rules of a registry that wants a token, which anybody may have."""
    answer = 'content-type application/json string \'{"token":"anybody"}\''
    yield f"return status 200 {answer} if {_is(server)} {{ path {path} }} {{ url_param(service) {host} }}"
    challenge = f'Bearer\\ realm=\\"https://{server}{path}\\",service=\\"{host}\\"'
    lacks_token = f'{_is(host)} !{{ req.hdr(authorization) "Bearer anybody" }}'
    yield f"return status 401 hdr WWW-Authenticate {challenge} if {lacks_token}"


def _images(host: str, *, registry: str) -> str:
    return f"set-path /v2/{registry}%[path,regsub(^/v2,)] if {_is(host)}"


def _redirect(host: str, prefix: str, *, code: int) -> str:
    return f"redirect prefix {prefix} code {code} if {_is(host)}"


def _is(*hosts: str) -> str:
    return f"{{ var(txn.host) -m str {' '.join(hosts)} }}"


def _list(fault: str) -> str:
    return f"/etc/haproxy/{fault}"


def _remove() -> None:
    containers.remove(labels={LABEL: KIND})
