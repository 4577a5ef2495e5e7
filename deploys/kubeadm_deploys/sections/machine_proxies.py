"""Configure the proxies of the options for everything that downloads on a machine.

These are this package's own downloads, apt and containerd. The cluster itself gets none: neither the static pods
and kube-proxy (see ``scripts/run-kubeadm.sh``), nor the questions to it (``scripts.ENVIRONMENT``).

systemd shows the variables of a unit to every user of the machine, but not those of an ``EnvironmentFile``. So a
password is only in files that root alone may read. Source: systemd.exec(5), apt-transport-http(1).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pyinfra import host
from pyinfra.api import FactBase, deploy
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.documents.templates import sha256
from kubeadm_deploys.facts.machine import Machine, network_of
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.model.proxies import Proxies, proxies_of
from kubeadm_deploys.operations import text_files, units
from kubeadm_deploys.operations.managed_files import write_files
from kubeadm_deploys.remote import lines
from kubeadm_deploys.remote.answers import Reading
from kubeadm_deploys.remote.reading import read, read_for_plan
from kubeadm_deploys.scripts import script
from kubeadm_deploys.sections.container_runtime import SERVES_KUBERNETES


@dataclass(frozen=True, kw_only=True)
class MachineProxiesState:
    """sha256 of ``files`` by path, and the mark of the proxies with which containerd runs.

    ``readable`` are the files that others than root can read. ``running`` is empty if it runs without any from
    this package, and None if it does not run.
    """

    files: dict[str, str] = field(default_factory=dict)
    readable: frozenset[str] = frozenset()
    running: str | None = None


class MachineProxies(FactBase[MachineProxiesState]):
    """Read this package's files, and with which of their proxies containerd runs."""

    @override
    def command(self, paths: tuple[str, ...]) -> StringCommand:
        return script("read-proxies", *paths)

    @override
    def process(self, output: list[str]) -> MachineProxiesState:
        values = lines.parse(output)
        return MachineProxiesState(
            files=lines.files(values),
            readable=frozenset(lines.by_prefix(values, "readable:")),
            running=values.get("running"),
        )


ENVIRONMENT_FILE = "/etc/kubeadm-deploys/proxies.env"
"""Variables for containerd, for pulls of images, and for this package's own downloads (``library/proxies.sh``)."""

# apt reads these files in the order of their names, and the last value counts.
APT_FILE = "/etc/apt/apt.conf.d/99kubeadm-deploys-proxies"
DROP_IN = "/etc/systemd/system/containerd.service.d/kubeadm-deploys-proxies.conf"
FILES = (ENVIRONMENT_FILE, APT_FILE, DROP_IN)

READING = Reading.of(MachineProxies, paths=FILES)


def environment(proxies: Proxies) -> str:
    """Return the file with variables; no value has a character that systemd or a shell would interpret.

    Go prefers names in capitals, and curl reads http_proxy only in small letters. The mark tells containerd's
    processes with other proxies from one with these.
    """
    variables = {
        "http_proxy": proxies.http,
        "https_proxy": proxies.https,
        "no_proxy": ",".join(proxies.direct),
    }
    names = [f"{name}={value}\n" for name, value in variables.items() if value]
    text = "".join(names) + "".join(
        f"{line.partition('=')[0].upper()}={line.partition('=')[2]}" for line in names
    )
    return f"{text}KUBEADM_DEPLOYS_PROXIES={sha256(text)[:16]}\n"


def apt_configuration(proxies: Proxies, *, nodes: Iterable[Node]) -> str:
    """Return apt's configuration. apt knows neither networks nor suffixes, so it gets every host by its name.

    Without a proxy for https, apt takes that for http.
    """
    urls = {scheme: url for scheme, url in (("http", proxies.http), ("https", proxies.https)) if url}
    direct = dict.fromkeys([*proxies.hosts, *(node.ip for node in nodes)])
    lines = [f'Acquire::{scheme}::Proxy "{url}";\n' for scheme, url in urls.items()]
    lines += [
        f'Acquire::{scheme}::Proxy::{name} "DIRECT";\n' for name in direct for scheme in ("http", "https")
    ]
    return "".join(lines)


def proxy_files(proxies: Proxies, *, nodes: Iterable[Node]) -> dict[str, str]:
    """Return every file of the section with its content; none without proxies."""
    if not proxies:
        return {}
    return {
        ENVIRONMENT_FILE: environment(proxies),
        APT_FILE: apt_configuration(proxies, nodes=nodes),
        DROP_IN: f"[Service]\nEnvironmentFile=-{ENVIRONMENT_FILE}\n",
    }


def private(files: Mapping[str, str]) -> list[str]:
    """Return the paths of the files with user and password of a proxy.

    Others stay readable, because apt warns every user about a file that it cannot read.
    """
    return [path for path, content in files.items() if "@" in content]


def intact_files(found: MachineProxiesState, *, wanted: Mapping[str, str]) -> dict[str, str]:
    """Return the files that may stay as they are: one with a password that others can read is written again."""
    exposed = found.readable & set(private(wanted))
    return {path: checksum for path, checksum in found.files.items() if path not in exposed}


def mark_of(files: Mapping[str, str]) -> str:
    """Return the mark with which containerd runs once these files are in place."""
    return files.get(ENVIRONMENT_FILE, "").rpartition("=")[2].strip()


@deploy("Proxies")
def configure_proxies(*, options: ClusterOptions, topology: Topology) -> None:
    """Configure the options' proxies for apt, containerd and downloads; without proxies, remove these files.

    containerd is restarted if it runs with other proxies; containers keep running.
    """
    node = topology.node(host.name)
    wanted: dict[str, str] = {}
    if options.http_proxy or options.https_proxy:
        network = network_of(read(host, Machine), node.ip)
        proxies = proxies_of(options, node=node, nodes=topology.nodes, network=network)
        # A new node of this network changes apt's list, which is read at every use, but not containerd's.
        wanted = proxy_files(proxies, nodes=topology.nodes)
    found = read_for_plan(host, READING, counts=lambda found: (found.files, found.readable))
    write_files(wanted=wanted, found=intact_files(found, wanted=wanted), private=private(wanted))
    unwanted = [path for path in FILES if path in found.files and path not in wanted]
    if unwanted:
        text_files.removed(
            name=f"Remove {unwanted[0]}{' and others' if len(unwanted) > 1 else ''}", paths=unwanted
        )
    if found.running is not None and found.running != mark_of(wanted):
        units.running(
            name="Run containerd with the proxies" if wanted else "Run containerd without proxies",
            unit="containerd.service",
            check=SERVES_KUBERNETES,
        )
