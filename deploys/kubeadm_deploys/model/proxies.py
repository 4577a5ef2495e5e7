"""The proxies through which a machine downloads, and the hosts that it reaches without them."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from kubeadm_deploys.model.nodes import Node
from kubeadm_deploys.model.options import ClusterOptions

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, kw_only=True)
class Proxies:
    """URLs of the proxies for http and https, empty without one; they may contain a password.

    ``direct`` are the hosts that are reached without a proxy: names with everything below them, suffixes that
    start with a dot, addresses, and networks.
    """

    http: str = field(default="", repr=False)
    https: str = field(default="", repr=False)
    direct: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.http or self.https)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The single hosts of ``direct``, for programs that know neither suffixes nor networks."""
        return tuple(entry for entry in self.direct if "/" not in entry and not entry.startswith("."))

    def bypassed(self, urls: Iterable[str]) -> list[str]:
        """Return the hosts of these URLs that are reached without a proxy."""
        hosts = {urlsplit(url).hostname or "" for url in urls}
        return sorted(host for host in hosts if self.bypasses(host))

    def bypasses(self, host: str) -> bool:
        """Return whether a host is reached without a proxy."""
        return any(_covers(entry, host) for entry in self.direct)


NO_PROXIES = Proxies()


def proxies_of(
    options: ClusterOptions, *, node: Node, nodes: Iterable[Node], network: Network | None
) -> Proxies:
    """Return the proxies of a node, with all hosts that the cluster must reach directly.

    ``nodes`` are those of the cluster and ``network`` is the one in which the node's address is, if it is
    known. It stands for all of its addresses, so that containerd, which is restarted for another list, keeps
    its list when a node of this network is added.
    """
    if not (options.http_proxy or options.https_proxy):
        return NO_PROXIES
    addresses = [ipaddress.ip_address(each.ip) for each in (node, *nodes)]
    direct = [
        "localhost",
        "127.0.0.1",
        *([str(network)] if network else []),
        *sorted(str(address) for address in set(addresses) if network is None or address not in network),
        str(options.pod_subnet),
        str(options.service_subnet),
        options.endpoint,
        *([str(options.api_load_balancer_address)] if options.api_load_balancer_address else []),
        ".svc",
        f".svc.{options.dns_domain}",
        *options.no_proxy,
    ]
    found = Proxies(direct=tuple(direct))
    mirror = urlsplit(options.mirror).hostname
    # Not every program knows networks.
    if mirror and found.bypasses(mirror):
        direct.append(mirror)
    return Proxies(http=options.http_proxy, https=options.https_proxy, direct=tuple(dict.fromkeys(direct)))


def _covers(entry: str, host: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry)
    except ValueError:
        return host == entry or host.endswith(f".{entry.removeprefix('.')}")
