"""The DNS servers that kubelet, CoreDNS and pods with the node's DNS ask for names outside the cluster.

A pod gets a copy of the file that the kubelet's ``resolvConf`` names. In the machine's own file a pod may find an
address of the machine itself, where nothing answers a pod and CoreDNS would ask itself in a loop, or more servers
than a resolver asks, for which the kubelet warns with every pod. Source: Kubernetes documentation, "Debugging DNS
Resolution", known issues; resolv.conf(5).
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.facts.answers import Reading
from kubeadm_deploys.facts.reading import read_for_plan
from kubeadm_deploys.facts.resolver import Resolver, ResolverState
from kubeadm_deploys.kubeadm_documents import RESOLVER_FILE
from kubeadm_deploys.managed_files import write_files
from kubeadm_deploys.options import ClusterOptions

SOURCES = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")
"""Where a machine's DNS servers are named: the usual file, and behind systemd-resolved's stub the real ones."""

READING = Reading.of(Resolver, sources=SOURCES, paths=(RESOLVER_FILE,))

_MOST_SERVERS = 3


@dataclass(frozen=True, kw_only=True)
class ResolverConfiguration:
    """What a resolv.conf says; of ``search`` lines the last counts, of ``options`` all."""

    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def parse(text: str) -> ResolverConfiguration:
    """Read a resolv.conf as the C library does."""
    words = [line.split() for line in text.splitlines() if not line.lstrip().startswith(("#", ";"))]
    searches = [values for key, *values in filter(None, words) if key in ("search", "domain")]
    return ResolverConfiguration(
        nameservers=tuple(
            values[0] for key, *values in filter(None, words) if key == "nameserver" and values
        ),
        # A dot alone is the root: what systemd-resolved writes for no domain at all.
        search=tuple(domain for domain in (searches or [[]])[-1] if domain != "."),
        options=tuple(value for key, *values in filter(None, words) if key == "options" for value in values),
    )


def what_counts(found: ResolverState) -> object:
    """What the section's operations are chosen by; comments and the order of lines are nothing to it."""
    return {path: parse(text) for path, text in found.sources.items()}, found.files


def usable(nameserver: str) -> bool:
    """Whether a pod can ask this server: pods have IPv4 addresses only, and their loopback is their own."""
    try:
        address = ipaddress.IPv4Address(nameserver)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified)


def resolver_file(*, sources: Mapping[str, str], nameservers: Sequence[str]) -> str:
    """The resolver file for the kubelet, from the machine's own; ``nameservers`` replace those named there.

    Raises:
        ValueError: no server is named that pods can ask; with those that are.
    """
    configurations = [parse(sources[path]) for path in SOURCES if path in sources]
    chosen = next((each for each in configurations if any(map(usable, each.nameservers))), None)
    if chosen is None and not nameservers:
        named = [nameserver for each in configurations for nameserver in each.nameservers]
        raise ValueError(", ".join(dict.fromkeys(named)) or "none")
    chosen = chosen or next(iter(configurations), ResolverConfiguration())
    servers = list(nameservers) or [each for each in dict.fromkeys(chosen.nameservers) if usable(each)]
    return "".join(
        f"{line}\n"
        for line in (
            "# Written by kubeadm-deploys for the kubelet.",
            *(f"nameserver {server}" for server in servers[:_MOST_SERVERS]),
            *([f"search {' '.join(chosen.search)}"] if chosen.search else []),
            *([f"options {' '.join(chosen.options)}"] if chosen.options else []),
        )
    )


@deploy("Resolver")
def configure_resolver(*, options: ClusterOptions) -> None:
    """Write the kubelet's resolver file; does nothing when ``kubelet_configuration`` names another.

    A kubelet takes it up with the next pod that it starts. In a cluster that was made without this file, the kubelets
    keep what their configuration says.

    Raises:
        DeployError: the machine knows no DNS server that pods can ask.
    """
    if "resolvConf" in options.kubelet_configuration:
        return
    found = read_for_plan(host, READING, counts=what_counts)
    try:
        wanted = resolver_file(sources=found.sources, nameservers=options.nameservers)
    except ValueError as named:
        raise DeployError(
            f"{host.name}: {' and '.join(SOURCES)} name no DNS server that pods can ask (found: {named}; pods have "
            "IPv4 addresses, and a loopback address is their own); name some in the option nameservers"
        ) from None
    write_files(wanted={RESOLVER_FILE: wanted}, found=found.files)
