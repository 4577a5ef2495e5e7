"""What a server's network namespace filters and redirects: Hetzner's firewalls and its metadata, as nftables rules.

Nothing here talks to docker.
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

PUBLIC_INTERFACE = "$public"
"""A variable of nft's: what the interface is called is known where the rules are set."""

METADATA_ADDRESS = "169.254.169.254"

_FIREWALL = "inet hcloud-firewall"
_METADATA = "ip hcloud-metadata"

# After the kernel has found the connection of a packet (-200), and before anything sends it elsewhere (-100): seen
# later, a packet to a NodePort would already be one to a pod.
_BEFORE_REDIRECTION = -190
# After the last one has been given its new source address (100).
_AFTER_REDIRECTION = 110

_PROTOCOLS = {"icmp": "{ icmp, icmpv6 }", "esp": "esp", "gre": "gre"}


def ruleset(*, rules: Sequence[Mapping[str, Any]] | None, metadata: str | None) -> str:
    """nft's input that replaces what an earlier one has set and touches nothing else.

    `rules` are those of all firewalls in the API's shape, None without a firewall; `metadata` is ADDRESS:PORT of who
    answers for the metadata, None for nobody.
    """
    lines: list[str] = []
    for table, chains in (
        (_FIREWALL, [] if rules is None else _firewall(rules)),
        (_METADATA, [] if metadata is None else _redirection(metadata)),
    ):
        # Deleting a table that does not exist is an error, so that it has to be made first.
        lines += [f"table {table} {{", "}", f"delete table {table}"]
        if chains:
            lines += [f"table {table} {{", *chains, "}"]
    return "\n".join(lines) + "\n"


def _firewall(rules: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Inbound, what no rule allows is dropped; outbound only when there are outbound rules at all."""
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
    """One match for each range: they may overlap, which sets do not like."""
    for text in rule[key]:
        version = ipaddress.ip_network(text).version
        yield f"{'ip' if version == 4 else 'ip6'} {side} {text} {_protocol(rule)}"


def _protocol(rule: Mapping[str, Any]) -> str:
    protocol, port = rule["protocol"], rule.get("port")
    if protocol not in ("tcp", "udp"):
        return f"meta l4proto {_PROTOCOLS[protocol]}"
    return f"meta l4proto {protocol}" if port in (None, "any") else f"{protocol} dport {port}"


def _redirection(metadata: str) -> Iterator[str]:
    """From the server itself and from its pods, which reach the metadata on Hetzner as well."""
    for hook in ("output", "prerouting"):
        yield f"chain {hook} {{"
        yield f"type nat hook {hook} priority -110; policy accept;"
        yield f"ip daddr {METADATA_ADDRESS} tcp dport 80 dnat to {metadata}"
        yield "}"
