"""haproxy on every worker's loopback: no load balancer, and the loss of a machine does not affect the others.

Each proxy checks all control planes and sends its worker's clients to those that are ready. Control planes
need no proxy: each resolves the name to its own API server. haproxy is Debian's package, with our own unit
and configuration. Source: kubeadm's guide "Options for Software Load Balancing"; haproxy's configuration
manual.
"""

from dataclasses import dataclass, field

from pyinfra import host
from pyinfra.api import FactBase, Host, deploy
from pyinfra.api.command import QuoteString, StringCommand
from typing_extensions import override

from kubeadm_deploys.documents.templates import render, sha256
from kubeadm_deploys.endpoints.kind import EndpointKind
from kubeadm_deploys.model.nodes import API_PORT, Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations import packages, units
from kubeadm_deploys.operations.managed_files import write_files
from kubeadm_deploys.operations.text_files import write_command
from kubeadm_deploys.remote import lines
from kubeadm_deploys.remote.answers import Reading
from kubeadm_deploys.remote.reading import ask, read_for_plan
from kubeadm_deploys.scripts import script


@dataclass(frozen=True, kw_only=True)
class LocalProxyState:
    """Whether haproxy is ``installed``, our unit ``running`` (now and after a reboot), and Debian's own
    service enabled without any configuration (``idle_service``); sha256 of ``files`` by path.
    """

    installed: bool = False
    running: bool = False
    idle_service: bool = False
    files: dict[str, str] = field(default_factory=dict)


class LocalProxy(FactBase[LocalProxyState]):
    """Read package, unit and files in one command."""

    @override
    def command(self, unit: str, paths: tuple[str, ...]) -> StringCommand:
        return script("read-local-proxy", unit, *paths)

    @override
    def process(self, output: list[str]) -> LocalProxyState:
        values = lines.parse(output)
        return LocalProxyState(
            installed="installed" in values,
            running=(values.get("active"), values.get("enabled")) == ("active", "enabled"),
            idle_service="idle-service" in values,
            files=lines.files(values),
        )


ADDRESS = "127.0.0.1"
UNIT = "kubeadm-deploys-api-proxy"
UNIT_FILE = f"/etc/systemd/system/{UNIT}.service"
FOLDER = "/etc/kubernetes/api-proxy"
CONFIG_FILE = f"{FOLDER}/haproxy.cfg"
LOADED_FILE = f"/run/{UNIT}/loaded.cfg"
"""The configuration that the proxy has loaded; the next run sees by it that a reload is missing."""

READING = Reading.of(LocalProxy, unit=UNIT, paths=(CONFIG_FILE, UNIT_FILE, LOADED_FILE))


def worker_address(*, options: ClusterOptions, control_planes: tuple[Node, ...], current: str) -> str:
    """Return the worker's loopback address, where its proxy listens."""
    return ADDRESS


def configuration(topology: Topology) -> str:
    """Return haproxy's configuration for all control planes; those that have not joined count as down."""
    control_planes = sorted(topology.control_planes, key=lambda node: node.name)
    return render("api-proxy.cfg.j2", address=ADDRESS, port=API_PORT, control_planes=control_planes)


def unit() -> str:
    """Return the proxy's systemd unit."""
    return render("api-proxy.service.j2", unit=UNIT, configuration=CONFIG_FILE, loaded=LOADED_FILE)


def what_counts(found: LocalProxyState) -> object:
    """Return what the choice of operations depends on, except what the proxy runs with at this moment."""
    files = {path: sha256 for path, sha256 in found.files.items() if path != LOADED_FILE}
    return found.installed, found.idle_service, files


@deploy("Local proxy")
def run_local_proxy(*, topology: Topology) -> None:
    """Run the proxy on a worker; does nothing on control planes."""
    if topology.node(host.name) in topology.control_planes:
        return
    found = read_for_plan(host, READING, counts=what_counts)
    if not found.installed:
        packages.installed(name="Install haproxy", packages=["haproxy"])
    if not found.installed or found.idle_service:
        units.disabled(name="Disable the service of haproxy's package", unit="haproxy.service")
    wanted = {CONFIG_FILE: configuration(topology), UNIT_FILE: unit()}
    differing = write_files(wanted=wanted, found=found.files)
    if differing or not found.running or found.files.get(LOADED_FILE) != sha256(wanted[CONFIG_FILE]):
        units.running(name="Run the proxy to the API servers", unit=UNIT, keep_connections=True)


@deploy("Local proxy")
def remove_local_proxy(*, topology: Topology) -> None:
    """Remove the proxy; call it when nothing uses it any more. The package stays."""
    if UNIT_FILE in read_for_plan(host, READING, counts=what_counts).files:
        units.removed(name="Remove the proxy to the API servers", unit=UNIT, paths=[FOLDER, UNIT_FILE])


def repoint(machine: Host, topology: Topology) -> list[StringCommand]:
    """Return the commands that point a worker's proxy to these control planes; none if it is already."""
    wanted = configuration(topology)
    loaded = ask(machine, LocalProxy, unit=UNIT, paths=(LOADED_FILE,)).files
    if loaded.get(LOADED_FILE) == sha256(wanted):
        return []
    return [
        write_command({CONFIG_FILE: wanted.encode()}),
        StringCommand("systemctl reload-or-restart", QuoteString(UNIT)),
    ]


KIND = EndpointKind(
    worker_address=worker_address,
    reading=READING,
    install=run_local_proxy,
    remove=remove_local_proxy,
    address=ADDRESS,
    repoint=repoint,
    units=(UNIT,),
    paths=(FOLDER, UNIT_FILE),
    programs=("haproxy",),
    ports=(API_PORT,),
)
