"""Checks of single values.

Each takes a value and returns it in its normal form, or raises ``ValueError`` with the rest of the
sentence that begins with the field and the value ("pod_subnet: '10.0/16' is not ...; write ...").
"""

import ipaddress
import math
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from kubeadm_deploys.errors import shortened, shown
from kubeadm_deploys.findings import CHECKS

_NUMBER = r"(0|[1-9][0-9]{0,5})"
_VERSION = re.compile(rf"v?{_NUMBER}\.{_NUMBER}\.{_NUMBER}")
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DNS_NAME = re.compile(rf"{_DNS_LABEL.pattern}(\.{_DNS_LABEL.pattern})*")
_FINGERPRINT = re.compile(r"[0-9A-F]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
# It stands in the kubelet's command line, in a file that systemd splits into words.
_PROVIDER_ID = re.compile(r"[a-z][-a-z0-9]*://[-._~/:@A-Za-z0-9]+")
# A host as browsers and machines know them, underscores of docker's names included. No user and password, no query:
# apt, curl and containerd each make something else of them.
_HOST_LABEL = r"[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?"
_URL = re.compile(
    rf"https?://({_HOST_LABEL}(\.{_HOST_LABEL})*|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])"
    r"(:(?P<port>[0-9]{1,5}))?(/[-._~%:@+=,/A-Za-z0-9]*)?"
)
_UNUSABLE = tuple(
    ipaddress.IPv4Network(network)
    for network in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")
)
"""This host, loopback, link-local, multicast and reserved: addresses that no router leads anywhere."""

_LONGEST_NODE_NAME = 63
_LONGEST_FILE_NAME = 240
_LONGEST_PATH = 4000
_DEEPEST_DOCUMENT = 20
_INTEGERS = range(-(2**63), 2**63)


def version(value: object) -> str:
    """A release number like 1.37.2; a leading ``v`` is dropped."""
    match = _VERSION.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError("is not a version; write three numbers, like 1.37.2")
    return ".".join(match.groups())


def network(value: object) -> str:
    """An IPv4 network whose host bits are zero."""
    if not isinstance(value, str) or "/" not in value:
        raise ValueError("is not an IPv4 network; write it like 10.244.0.0/16")
    try:
        found = ipaddress.IPv4Network(value)
    except ValueError as error:
        raise ValueError(
            f"is not an IPv4 network ({shortened(str(error))}); write it like 10.244.0.0/16"
        ) from None
    for unusable in _UNUSABLE:
        if found.overlaps(unusable):
            raise ValueError(
                f"has addresses of {unusable}, which lead nowhere; take a private network, like 10.244.0.0/16"
            )
    return str(found)


def address(value: object) -> str:
    """An IPv4 address."""
    try:
        return str(ipaddress.IPv4Address(value if isinstance(value, str) else ""))
    except ValueError:
        raise ValueError("is not an IPv4 address; write it like 10.0.0.2") from None


def node_address(value: object) -> str:
    """An IPv4 address at which other machines can reach one."""
    found = address(value)
    if any(ipaddress.IPv4Address(found) in unusable for unusable in _UNUSABLE):
        raise ValueError("is an address that no other machine can reach; write it like 10.0.0.2")
    return found


def network_or_empty(value: object) -> str:
    """An IPv4 network, or the empty string for none."""
    return "" if value == "" else network(value)


def address_or_empty(value: object) -> str:
    """An IPv4 address, or the empty string for none."""
    return "" if value == "" else address(value)


def mac_or_empty(value: object) -> str:
    """The hardware address of an interface in lower case, or the empty string when it is not known."""
    normal = value.lower() if isinstance(value, str) else ""
    if value != "" and not _MAC.fullmatch(normal):
        raise ValueError("is not a hardware address; write it like 86:00:00:12:34:56")
    return normal


def provider_id_or_empty(value: object) -> str:
    """What a cloud calls a machine, like ``hcloud://42``, or the empty string when it is in no cloud."""
    if value != "" and not (isinstance(value, str) and _PROVIDER_ID.fullmatch(value)):
        raise ValueError("is not a provider ID; write it like hcloud://42")
    return str(value)


def nameservers(value: object) -> tuple[str, ...]:
    """At most three IPv4 addresses of DNS servers, none of them the machine itself: pods have to reach them."""
    found = items(value, example="['10.0.0.53', '9.9.9.9']")
    if len(found) > 3:
        raise ValueError("has more than three addresses, and a resolver asks no more; write at most three")
    return tuple(_nameserver(entry) for entry in found)


def _nameserver(value: object) -> str:
    try:
        found = ipaddress.IPv4Address(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(
            f"has {shown(value)}, which is not an IPv4 address, and pods have no other; write it like 9.9.9.9"
        ) from None
    if found.is_loopback or found.is_unspecified:
        raise ValueError(
            f"has {shown(value)}, which in a pod is the pod itself; name a DNS server on the network"
        )
    return str(found)


def dns_label(value: object) -> str:
    """A name of lower-case letters, digits and inner hyphens, at most 63 characters."""
    if not isinstance(value, str) or not _DNS_LABEL.fullmatch(value):
        raise ValueError("is not a valid name; use at most 63 lower-case letters, digits and inner hyphens")
    return value


def dns_name(value: object) -> str:
    """One or more DNS labels joined by dots, at most 253 characters; never an IP address."""
    if not isinstance(value, str) or not _DNS_NAME.fullmatch(value) or len(value) > 253:
        raise ValueError("is not a DNS name; use lower-case labels joined by dots, like api.example.com")
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return value
    raise ValueError("is an IP address; use a name, which can be pointed elsewhere later")


def node_name(value: object) -> str:
    """A DNS name that is short enough for the label kubernetes.io/hostname, which the kubelet makes of it."""
    name = dns_name(value)
    if len(name) > _LONGEST_NODE_NAME:
        raise ValueError(f"is too long for a node; use at most {_LONGEST_NODE_NAME} characters")
    return name


def dns_name_or_empty(value: object) -> str:
    """A DNS name, or the empty string for the default."""
    return "" if value == "" else dns_name(value)


def san(value: object) -> str:
    """What may stand in a certificate: a DNS name or an IP address, without the zone that an IPv6 one may have."""
    if isinstance(value, str) and "%" not in value:
        with suppress(ValueError):
            return str(ipaddress.ip_address(value))
    return dns_name(value)


def san_or_empty(value: object) -> str:
    """A DNS name or an IP address, or the empty string for the default."""
    return "" if value == "" else san(value)


def fingerprint(value: object) -> str:
    """An OpenPGP fingerprint of 40 hexadecimal digits; spaces and case do not matter."""
    normal = value.replace(" ", "").upper() if isinstance(value, str) else ""
    if not _FINGERPRINT.fullmatch(normal):
        raise ValueError("is not a key fingerprint; write its 40 hexadecimal digits")
    return normal


def url_or_empty(value: object) -> str:
    """An http or https URL without a trailing slash, or the empty string."""
    if value == "":
        return ""
    match = _URL.fullmatch(value) if isinstance(value, str) else None
    if not match or not _is_ipv6(match["ipv6"] or "::") or not 0 < int(match["port"] or 80) < 2**16:
        raise ValueError("is not a URL; write it like http://10.0.0.9:8080, or leave it empty")
    return match[0].rstrip("/")


def _is_ipv6(value: str) -> bool:
    try:
        ipaddress.IPv6Address(value)
    except ValueError:
        return False
    return True


def path_or_empty(value: object) -> str:
    """A path of a file, or the empty string for the default."""
    # What is not printable includes what no file system can store.
    if not isinstance(value, str) or not value.isprintable() or value.endswith("/"):
        raise ValueError("is not the path of a file; write it like clusters/one.kubeconfig")
    if value.startswith("~") and os.path.expanduser(value).startswith("~"):
        raise ValueError(
            "is in the home of a user that does not exist; write it like ~/clusters/one.kubeconfig"
        )
    if value.rpartition("/")[2] in (".", "..", "~"):
        raise ValueError("is the path of a folder; add the file's name, like clusters/one.kubeconfig")
    longest = max(len(name.encode()) for name in value.split("/"))
    if longest > _LONGEST_FILE_NAME or len(value.encode()) > _LONGEST_PATH:
        raise ValueError("is too long for a path; write a shorter one, like clusters/one.kubeconfig")
    return value


def flag(value: object) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise ValueError("is not a switch; write true or false")
    return value


def mtu(value: object) -> int:
    """An MTU in bytes, or 0 for "take it from the node's interface"."""
    if isinstance(value, bool) or not isinstance(value, int) or not (value == 0 or 576 <= value <= 9000):
        raise ValueError(
            "is not an MTU; write 576 to 9000 bytes, or 0 to derive it from the node's interface"
        )
    return value


def seconds(value: object) -> int:
    """A duration in whole seconds, from 1 to 3600."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 3600:
        raise ValueError("is not a number of seconds; write 1 to 3600")
    return value


def one_of(*choices: str) -> Callable[[object], str]:
    """One of the given words."""

    def check(value: object) -> str:
        # Whoever writes None into a Python file, as the message offers it, means the word.
        word = "None" if value is None else value
        if word not in choices:
            raise ValueError(f"is not known; choose {' or '.join(filter(None, choices))}")
        return str(word)

    return check


def items(value: object, *, example: str = "['a', 'b']") -> tuple[object, ...]:
    """The items of a list, or those of a text with commas between them, as ``--data`` gives it."""
    if isinstance(value, str):
        return tuple(item.strip() for item in value.split(",")) if value.strip() else ()
    if not isinstance(value, list | tuple):
        raise ValueError(f"is not a list; write it like {example}")
    return tuple(value)


def tuple_of(item: Callable[[object], str]) -> Callable[[object], tuple[str, ...]]:
    """A list, or text with commas, whose items all pass ``item``."""

    def check(value: object) -> tuple[str, ...]:
        return tuple(item(entry) for entry in items(value))

    return check


def preflight_check(value: object) -> str:
    """The name of a kubeadm preflight check, like SystemVerification; ``all`` is refused."""
    if (
        not isinstance(value, str)
        or not re.fullmatch(r"[A-Za-z][-._A-Za-z0-9]*", value)
        or value.lower() == "all"
    ):
        raise ValueError("is not the name of one kubeadm preflight check; write it like SystemVerification")
    return value


def waivable_check(value: object) -> str:
    """The name of one of our own checks that may be waived."""
    waivable = [name for name, check in CHECKS.items() if check.waivable]
    if not isinstance(value, str) or (value not in CHECKS and value.lower() != "all"):
        raise ValueError(f"has {shown(value)}, which is no check; choose among {', '.join(waivable)}")
    if value.lower() == "all":
        raise ValueError("has 'all'; name the checks that you mean, one by one")
    if value not in waivable:
        raise ValueError(f"has {value!r}, which cannot be waived; do what its finding says")
    return value


def document(value: object) -> Mapping[str, Any]:
    """A mapping that becomes part of a configuration document, of what JSON knows too."""
    if not isinstance(value, Mapping):
        raise ValueError("is not a mapping; write it like {'maxPods': 200}")
    for key in ("apiVersion", "kind"):
        if key in value:
            raise ValueError(f"has {key}, which is given; leave it out")
    return {_text(key): _plain(part, depth=1) for key, part in value.items()}


def _plain(value: object, *, depth: int) -> object:
    """A copy of a part of a document, in which nothing is there twice."""
    if depth > _DEEPEST_DOCUMENT:
        raise ValueError(f"is nested too deep; use at most {_DEEPEST_DOCUMENT} levels")
    if isinstance(value, Mapping):
        return {_text(key): _plain(part, depth=depth + 1) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part, depth=depth + 1) for part in value]
    if value is None or isinstance(value, bool):
        return value
    if (type(value) is int and value in _INTEGERS) or (type(value) is float and math.isfinite(value)):
        return value
    return _text(value)


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError(
            f"has {shown(value)}, which no such document can hold; "
            "use text, numbers of at most 64 bits, true, false, lists, and mappings whose keys are text"
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"has {shown(value)}, which is no Unicode text; write it without surrogates"
        ) from None
    return value


def checksums(value: object) -> Mapping[str, str]:
    """A mapping of upstream URLs to sha256 sums."""
    if not isinstance(value, Mapping):
        raise ValueError(
            "is neither a file nor a mapping of upstream URLs to sha256 sums; name a sha256sum file"
        )
    for url, checksum in value.items():
        if not isinstance(url, str) or not url.startswith("https://"):
            raise ValueError(
                f"has {shown(url)}, which is not an upstream URL; write it like https://dl.k8s.io/..."
            )
        if not isinstance(checksum, str) or not _SHA256.fullmatch(checksum):
            raise ValueError(f"has no sha256 for {shown(url)}; write its 64 hexadecimal digits in lower case")
    return dict(value)
