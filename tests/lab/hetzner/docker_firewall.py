"""nftables rules of a server's network namespace: Hetzner's firewalls, and the redirection of metadata.

Nothing here talks to docker.
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

PUBLIC_INTERFACE = "$public"
"""An nft variable: the interface name is known only where the rules are set."""

METADATA_ADDRESS = "169.254.169.254"

_FIREWALL = "inet hcloud-firewall"
_METADATA = "ip hcloud-metadata"

# After connection tracking (-200) and before destination NAT (-100), because afterwards a packet to a
# NodePort has a pod as its destination.
_BEFORE_REDIRECTION = -190
# After source NAT (100).
_AFTER_REDIRECTION = 110

_PROTOCOLS = {"icmp": "{ icmp, icmpv6 }", "esp": "esp", "gre": "gre"}


def ruleset(*, rules: Sequence[Mapping[str, Any]] | None, metadata: str | None) -> str:
    """Return input for nft that replaces earlier rules of this kind and no others.

    `rules` are those of all firewalls in the API's format, None without a firewall; `metadata` is the
    ADDRESS:PORT of the metadata server, None for none.
    """
    lines: list[str] = []
    for table, chains in (
        (_FIREWALL, [] if rules is None else _firewall(rules)),
        (_METADATA, [] if metadata is None else _redirection(metadata)),
    ):
        # Deleting a missing table is an error, so create it first.
        lines += [f"table {table} {{", "}", f"delete table {table}"]
        if chains:
            lines += [f"table {table} {{", *chains, "}"]
    return "\n".join(lines) + "\n"


def _firewall(rules: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Drop inbound traffic that no rule allows; outbound only if there is an outbound rule."""
    inbound = [rule for rule in rules if rule["direction"] == "in"]
    outbound = [rule for rule in rules if rule["direction"] == "out"]
    yield from _chain(
        hook=f"prerouting priority {_BEFORE_REDIRECTION}",
        interface="iifname",
        matches=[match for rule in inbound for match in _matches(rule, key="source_ips", side="saddr")],
    )
    if outbound:
        yield from _chain(
            hook=f"postrouting priority {_AFTER_REDIRECTION}",
            interface="oifname",
            matches=[
                match for rule in outbound for match in _matches(rule, key="destination_ips", side="daddr")
            ],
        )


def _chain(*, hook: str, interface: str, matches: Sequence[str]) -> Iterator[str]:
    yield f"chain {hook.partition(' ')[0]} {{"
    yield f"type filter hook {hook}; policy accept;"
    yield f"{interface} != {PUBLIC_INTERFACE} accept"
    yield "ct state established,related accept"
    yield from (f"{match} accept" for match in matches)
    yield "drop"
    yield "}"


def _matches(rule: Mapping[str, Any], *, key: str, side: str) -> Iterator[str]:
    """Yield one match per range: ranges may overlap, which sets do not allow."""
    for text in rule[key]:
        version = ipaddress.ip_network(text).version
        yield f"{'ip' if version == 4 else 'ip6'} {side} {text} {_protocol(rule)}"


def _protocol(rule: Mapping[str, Any]) -> str:
    protocol, port = rule["protocol"], rule.get("port")
    if protocol not in ("tcp", "udp"):
        return f"meta l4proto {_PROTOCOLS[protocol]}"
    return f"meta l4proto {protocol}" if port in (None, "any") else f"{protocol} dport {port}"


def _redirection(metadata: str) -> Iterator[str]:
    """Redirect the server itself and its pods, which can also read metadata on Hetzner."""
    for hook in ("output", "prerouting"):
        yield f"chain {hook} {{"
        yield f"type nat hook {hook} priority -110; policy accept;"
        yield f"ip daddr {METADATA_ADDRESS} tcp dport 80 dnat to {metadata}"
        yield "}"
