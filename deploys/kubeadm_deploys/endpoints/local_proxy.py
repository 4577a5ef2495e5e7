"""haproxy on every worker's loopback: no load balancer is needed, and no machine's loss matters to the others.

Each proxy checks all control planes and sends its worker's clients to those that are ready. Control planes need none:
each resolves the name to its own API server. haproxy comes from Debian's packages, but with a unit and a configuration
of its own. Source: kubeadm's guide "Options for Software Load Balancing"; haproxy's configuration manual.
"""

from pyinfra import host
from pyinfra.api import deploy

from kubeadm_deploys.endpoints import kind_of
from kubeadm_deploys.facts.answers import Reading
from kubeadm_deploys.facts.local_proxy import LocalProxy, LocalProxyState
from kubeadm_deploys.facts.reading import read_for_plan
from kubeadm_deploys.kubeadm_documents import API_PORT
from kubeadm_deploys.managed_files import write_files
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.operations import packages, units
from kubeadm_deploys.options import ClusterOptions
from kubeadm_deploys.text import render, sha256

ADDRESS = "127.0.0.1"
UNIT = "kubeadm-deploys-api-proxy"
UNIT_FILE = f"/etc/systemd/system/{UNIT}.service"
FOLDER = "/etc/kubernetes/api-proxy"
CONFIG_FILE = f"{FOLDER}/haproxy.cfg"
LOADED_FILE = f"/run/{UNIT}/loaded.cfg"
"""What the running proxy has read: a run that is killed before the reload is noticed by the next one."""

READING = Reading.of(LocalProxy, unit=UNIT, paths=(CONFIG_FILE, UNIT_FILE, LOADED_FILE))


def worker_address(*, options: ClusterOptions, control_planes: tuple[Node, ...], current: str) -> str:
    """The worker itself, where its proxy listens."""
    return ADDRESS


def configuration(topology: Topology) -> str:
    """haproxy's configuration for all control planes, whatever their order; one that has not joined is down for it."""
    control_planes = sorted(topology.control_planes, key=lambda node: node.name)
    return render("api-proxy.cfg.j2", address=ADDRESS, port=API_PORT, control_planes=control_planes)


def unit() -> str:
    """The proxy's systemd unit."""
    return render("api-proxy.service.j2", unit=UNIT, configuration=CONFIG_FILE, loaded=LOADED_FILE)


def what_counts(found: LocalProxyState) -> object:
    """What the operations are chosen by, but for what the proxy at this moment runs with."""
    files = {path: sha256 for path, sha256 in found.files.items() if path != LOADED_FILE}
    return found.installed, found.idle_service, files


@deploy("Local proxy")
def run_local_proxy(*, options: ClusterOptions, topology: Topology) -> None:
    """Run the proxy where workers have one; does nothing on control planes and behind other kinds of endpoint."""
    if topology.node(host.name) in topology.control_planes or not _has_proxies(options, topology):
        return
    found = read_for_plan(host, READING, counts=what_counts)
    if not found.installed:
        packages.installed(name="Install haproxy", packages=["haproxy"])
    if not found.installed or found.idle_service:
        units.disabled(name="Disable the service that haproxy's package brings", unit="haproxy.service")
    wanted = {CONFIG_FILE: configuration(topology), UNIT_FILE: unit()}
    differing = write_files(wanted=wanted, found=found.files)
    if differing or not found.running or found.files.get(LOADED_FILE) != sha256(wanted[CONFIG_FILE]):
        units.running(name="Run the proxy to the API servers", unit=UNIT, keep_connections=True)


@deploy("Local proxy")
def remove_local_proxy(*, options: ClusterOptions, topology: Topology) -> None:
    """Remove the proxy where workers have none; to be called when nothing uses it any more. The package stays."""
    if (
        _has_proxies(options, topology)
        or UNIT_FILE not in read_for_plan(host, READING, counts=what_counts).files
    ):
        return
    units.removed(name="Remove the proxy to the API servers", unit=UNIT, paths=[FOLDER, UNIT_FILE])


def _has_proxies(options: ClusterOptions, topology: Topology) -> bool:
    return kind_of(options=options, topology=topology) == "local_proxy"
