"""Configure the DNS servers that kubelet, CoreDNS and pods with the node's DNS ask for external names.

A pod gets a copy of the file that the kubelet's ``resolvConf`` names. The machine's own file may name an
address of the machine itself, where nothing answers a pod and CoreDNS would ask itself in a loop. It may also
name more servers than a resolver asks, about which the kubelet warns with every pod. Source: Kubernetes
documentation, "Debugging DNS Resolution", known issues; resolv.conf(5).
"""

import base64
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pyinfra import host
from pyinfra.api import FactBase, deploy
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import DeployError
from typing_extensions import override

from kubeadm_deploys.documents.kubeadm_documents import RESOLVER_FILE
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations.managed_files import write_files
from kubeadm_deploys.remote import lines
from kubeadm_deploys.remote.answers import Reading
from kubeadm_deploys.remote.reading import read_for_plan
from kubeadm_deploys.scripts import script


@dataclass(frozen=True, kw_only=True)
class KubeletDnsState:
    """Contents of the resolver ``sources`` by path, and sha256 of ``files`` by path."""

    sources: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


class KubeletDns(FactBase[KubeletDnsState]):
    """Read the resolver configurations in one command."""

    @override
    def command(self, sources: tuple[str, ...], paths: tuple[str, ...]) -> StringCommand:
        return script("read-kubelet-dns", *sources, "--", *paths)

    @override
    def process(self, output: list[str]) -> KubeletDnsState:
        values = lines.parse(output)
        return KubeletDnsState(
            sources={
                path: base64.b64decode(content).decode(errors="replace")
                for path, content in lines.by_prefix(values, "source:").items()
            },
            files=lines.files(values),
        )


SOURCES = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")
"""Where a machine names its DNS servers: the usual file, and for systemd-resolved's stub the real servers."""

READING = Reading.of(KubeletDns, sources=SOURCES, paths=(RESOLVER_FILE,))

_MOST_SERVERS = 3


@dataclass(frozen=True, kw_only=True)
class ResolverConfiguration:
    """The settings of a resolv.conf; the last ``search`` line counts, and all ``options``."""

    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def parse(text: str) -> ResolverConfiguration:
    """Parse a resolv.conf as the C library does."""
    words = [line.split() for line in text.splitlines() if not line.lstrip().startswith(("#", ";"))]
    searches = [values for key, *values in filter(None, words) if key in ("search", "domain")]
    return ResolverConfiguration(
        nameservers=tuple(
            values[0] for key, *values in filter(None, words) if key == "nameserver" and values
        ),
        # systemd-resolved writes a dot, the root, if there is no domain at all.
        search=tuple(domain for domain in (searches or [[]])[-1] if domain != "."),
        options=tuple(value for key, *values in filter(None, words) if key == "options" for value in values),
    )


def what_counts(found: KubeletDnsState) -> object:
    """Return what the choice of operations depends on: settings, not comments or the order of their lines."""
    return {path: parse(text) for path, text in found.sources.items()}, found.files


def usable(nameserver: str) -> bool:
    """Return whether a pod can ask this server: pods have only IPv4 addresses and a loopback of their own."""
    try:
        address = ipaddress.IPv4Address(nameserver)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified)


def resolver_file(*, sources: Mapping[str, str], nameservers: Sequence[str]) -> str:
    """Return the kubelet's resolver file, made from the machine's own; ``nameservers`` replace its servers.

    Raises:
        ValueError: no server is named that pods can ask; the message lists the named ones.
    """
    configurations = [parse(sources[path]) for path in SOURCES if path in sources]
    chosen = next((found for found in configurations if any(map(usable, found.nameservers))), None)
    if chosen is None and not nameservers:
        named = [nameserver for found in configurations for nameserver in found.nameservers]
        raise ValueError(", ".join(dict.fromkeys(named)) or "none")
    chosen = chosen or next(iter(configurations), ResolverConfiguration())
    servers = list(nameservers) or [server for server in dict.fromkeys(chosen.nameservers) if usable(server)]
    return "".join(
        f"{line}\n"
        for line in (
            "# Written by kubeadm-deploys for the kubelet.",
            *(f"nameserver {server}" for server in servers[:_MOST_SERVERS]),
            *([f"search {' '.join(chosen.search)}"] if chosen.search else []),
            *([f"options {' '.join(chosen.options)}"] if chosen.options else []),
        )
    )


@deploy("Kubelet DNS")
def configure_kubelet_dns(*, options: ClusterOptions) -> None:
    """Write the kubelet's resolver file; does nothing if ``kubelet_configuration`` names another file.

    A kubelet uses it for the next pod that it starts; pods that run keep their copy. In a cluster that was created
    without this file, the kubelets keep the file that their configuration names until there are ``nameservers``: see
    ``live_kubelet.wanted_fields``.

    Raises:
        DeployError: the machine knows no DNS server that pods can ask.
    """
    if "resolvConf" in options.kubelet_configuration:
        return
    found = read_for_plan(host, READING, counts=what_counts)
    try:
        wanted = resolver_file(sources=found.sources, nameservers=list(map(str, options.nameservers)))
    except ValueError as named:
        raise DeployError(
            f"{host.name}: {' and '.join(SOURCES)} name no DNS server that pods can ask (found: {named}; "
            "pods have IPv4 addresses only, and a loopback address is their own); set the option nameservers"
        ) from None
    write_files(wanted={RESOLVER_FILE: wanted}, found=found.files)
