"""Checks of single values.

Each takes a value and returns it in normalized form, or raises ``ValueError`` with the rest of the sentence
that starts with the field and the value ("pod_subnet: '10.0/16' is not ...; write ...").
"""

import ipaddress
import math
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from kubeadm_deploys.model.errors import shortened, shown
from kubeadm_deploys.model.findings import CHECKS

T = TypeVar("T")

_NUMBER = r"(0|[1-9][0-9]{0,5})"
_VERSION = re.compile(rf"v?{_NUMBER}\.{_NUMBER}\.{_NUMBER}")
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
DNS_NAME = re.compile(rf"{_DNS_LABEL.pattern}(\.{_DNS_LABEL.pattern})*")
_FINGERPRINT = re.compile(r"[0-9A-F]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
# It is written to the kubelet's command line, in a file that systemd splits into words.
_PROVIDER_ID = re.compile(r"[a-z][-a-z0-9]*://[-._~/:@A-Za-z0-9]+")
_RECIPIENT = re.compile(r"age1[0-9a-z]+|ssh-(ed25519|rsa) [A-Za-z0-9+/=]+( [ -~]*)?")
_UNUSABLE = tuple(
    ipaddress.IPv4Network(network)
    for network in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")
)
"""This host, loopback, link-local, multicast and reserved: addresses that are never routed."""

_LONGEST_NODE_NAME = 63
_LONGEST_FILE_NAME = 240
_LONGEST_PATH = 4000
_DEEPEST_DOCUMENT = 20
_INTEGERS = range(-(2**63), 2**63)


def version(value: object) -> str:
    """Check a release number like 1.37.2; drop a leading ``v``."""
    match = _VERSION.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError("is not a version; write three numbers, like 1.37.2")
    return ".".join(match.groups())


def network(value: object) -> ipaddress.IPv4Network:
    """Check an IPv4 network; its host bits must be zero."""
    value = str(value) if isinstance(value, ipaddress.IPv4Network) else value
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
                f"has addresses of {unusable}, which is not routable; use a network like 10.244.0.0/16"
            )
    return found


def address(value: object) -> ipaddress.IPv4Address:
    """Check an IPv4 address."""
    try:
        return ipaddress.IPv4Address(value if isinstance(value, str | ipaddress.IPv4Address) else "")
    except ValueError:
        raise ValueError("is not an IPv4 address; write it like 10.0.0.2") from None


def node_address(value: object) -> ipaddress.IPv4Address:
    """Check an IPv4 address at which other machines can reach a node."""
    found = address(value)
    if any(found in unusable for unusable in _UNUSABLE):
        raise ValueError("is an address that no other machine can reach; use one like 10.0.0.2")
    return found


def or_none(check: Callable[[object], T]) -> Callable[[object], T | None]:
    """Return a check that also accepts None, and the empty string as None."""
    return lambda value: None if value is None or value == "" else check(value)


def or_empty(check: Callable[[object], str]) -> Callable[[object], str]:
    """Return a check that also accepts the empty string, for the default."""
    return lambda value: "" if value == "" else check(value)


def mac_or_empty(value: object) -> str:
    """Check the MAC address of an interface, returned in lower case; the empty string means unknown."""
    normal = value.lower() if isinstance(value, str) else ""
    if value != "" and not _MAC.fullmatch(normal):
        raise ValueError("is not a MAC address; write it like 86:00:00:12:34:56")
    return normal


def provider_id_or_empty(value: object) -> str:
    """Check a provider ID, like ``aws:///eu-central-1a/i-0123``; the empty string means no cloud."""
    if value != "" and not (isinstance(value, str) and _PROVIDER_ID.fullmatch(value)):
        raise ValueError("is not a provider ID; write it like aws:///eu-central-1a/i-0123")
    return str(value)


def nameservers(value: object) -> tuple[ipaddress.IPv4Address, ...]:
    """Check at most three IPv4 addresses of DNS servers that pods can reach, so not the machine itself."""
    found = items(value, example="['10.0.0.53', '9.9.9.9']")
    if len(found) > 3:
        raise ValueError("has more than three addresses, but a resolver uses only three; write at most three")
    return tuple(_nameserver(entry) for entry in found)


def _nameserver(value: object) -> ipaddress.IPv4Address:
    try:
        found = address(value)
    except ValueError:
        raise ValueError(
            f"has {shown(value)}, which is not an IPv4 address, and pods only have IPv4; use one like 9.9.9.9"
        ) from None
    if found.is_loopback or found.is_unspecified:
        raise ValueError(
            f"has {shown(value)}, which in a pod is the pod itself; use a DNS server on the network"
        )
    return found


def dns_label(value: object) -> str:
    """Check a name of lower-case letters, digits and inner hyphens, at most 63 characters."""
    if not isinstance(value, str) or not _DNS_LABEL.fullmatch(value):
        raise ValueError("is not a valid name; use at most 63 lower-case letters, digits and inner hyphens")
    return value


def dns_name(value: object) -> str:
    """Check one or more DNS labels joined by dots, at most 253 characters, that are not an IP address."""
    if not isinstance(value, str) or not DNS_NAME.fullmatch(value) or len(value) > 253:
        raise ValueError("is not a DNS name; use lower-case labels joined by dots, like api.example.com")
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return value
    raise ValueError("is an IP address; use a name, which can later point to another address")


def node_name(value: object) -> str:
    """Check a DNS name that is short enough for the label kubernetes.io/hostname, which contains it."""
    name = dns_name(value)
    if len(name) > _LONGEST_NODE_NAME:
        raise ValueError(f"is too long for a node; use at most {_LONGEST_NODE_NAME} characters")
    return name


def san(value: object) -> str:
    """Check a subject alternative name: a DNS name, or an IP address without an IPv6 zone."""
    if isinstance(value, str) and "%" not in value:
        with suppress(ValueError):
            return str(ipaddress.ip_address(value))
    return dns_name(value)


def fingerprint(value: object) -> str:
    """Check an OpenPGP fingerprint of 40 hexadecimal digits; spaces and case do not matter."""
    normal = value.replace(" ", "").upper() if isinstance(value, str) else ""
    if not _FINGERPRINT.fullmatch(normal):
        raise ValueError("is not a key fingerprint; write its 40 hexadecimal digits")
    return normal


def is_ipv6(value: str) -> bool:
    """Return whether a text is an IPv6 address."""
    try:
        ipaddress.IPv6Address(value)
    except ValueError:
        return False
    return True


def path_or_empty(value: object) -> str:
    """Check the path of a file; the empty string is the default."""
    # Unprintable characters include those that no file system can store.
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
    """Check a boolean."""
    if not isinstance(value, bool):
        raise ValueError("is not a boolean; write true or false")
    return value


def mtu(value: object) -> int:
    """Check an MTU in bytes; 0 means "derive it from the node's interface"."""
    if isinstance(value, bool) or not isinstance(value, int) or not (value == 0 or 576 <= value <= 9000):
        raise ValueError(
            "is not an MTU; write 576 to 9000 bytes, or 0 to derive it from the node's interface"
        )
    return value


def seconds(value: object) -> int:
    """Check a duration in whole seconds, from 1 to 3600."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 3600:
        raise ValueError("is not a number of seconds from 1 to 3600; write one")
    return value


def number(value: object) -> int:
    """Check a whole number of things, 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("is not a number from 1 on; write one")
    return value


def recipient(value: object) -> str:
    """Check that a text may be a public key of age or SSH, for which a file can be encrypted."""
    text = _text(value)
    if not _RECIPIENT.fullmatch(text):
        raise ValueError(
            "is not a public key; write one of age (age1...) or SSH (ssh-ed25519 ..., ssh-rsa ...)"
        )
    return text


def items(value: object, *, example: str = "['a', 'b']") -> tuple[object, ...]:
    """Return the items of a list, or of a comma-separated text, as ``--data`` passes it."""
    if isinstance(value, str):
        return tuple(item.strip() for item in value.split(",")) if value.strip() else ()
    if not isinstance(value, list | tuple):
        raise ValueError(f"is not a list; write it like {example}")
    return tuple(value)


def tuple_of(item: Callable[[object], T]) -> Callable[[object], tuple[T, ...]]:
    """Return a check of a list, or comma-separated text, whose items all pass ``item``."""
    return lambda value: tuple(item(entry) for entry in items(value))


def preflight_check(value: object) -> str:
    """Check the name of a kubeadm preflight check, like SystemVerification; ``all`` is refused."""
    if (
        not isinstance(value, str)
        or not re.fullmatch(r"[A-Za-z][-._A-Za-z0-9]*", value)
        or value.lower() == "all"
    ):
        raise ValueError("is not the name of one kubeadm preflight check; write it like SystemVerification")
    return value


def skippable_check(value: object) -> str:
    """Check the name of a preflight check of this package that may be skipped."""
    skippable = [name for name, check in CHECKS.items() if check.skippable]
    if not isinstance(value, str) or (value not in CHECKS and value.lower() != "all"):
        raise ValueError(f"has {shown(value)}, which is not a check; choose one of {', '.join(skippable)}")
    if value.lower() == "all":
        raise ValueError("has 'all'; name the checks one by one")
    if value not in skippable:
        raise ValueError(f"has {value!r}, which cannot be skipped; fix the problem that it reports")
    return value


def document(value: object) -> Mapping[str, Any]:
    """Check a mapping that becomes part of a configuration document; only JSON's types are allowed."""
    if not isinstance(value, Mapping):
        raise ValueError("is not a mapping; write it like {'maxPods': 200}")
    for key in ("apiVersion", "kind"):
        if key in value:
            raise ValueError(f"has {key}, which is set automatically; leave it out")
    return {_text(key): _plain(part, depth=1) for key, part in value.items()}


def _plain(value: object, *, depth: int) -> object:
    """Return a copy of a part of a document, without shared objects."""
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
            f"has {shown(value)}, which the document cannot contain; "
            "use text, numbers of at most 64 bits, true, false, lists, and mappings whose keys are text"
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"has {shown(value)}, which is not Unicode text; write it without surrogates"
        ) from None
    return value


def content(value: object) -> str:
    """Check the text of a file."""
    try:
        return _text(value)
    except ValueError:
        raise ValueError("is not text; write the file's content as text, or name a local file") from None


def mode(value: object) -> str:
    """Check the mode of a file that root owns; others may read it at most."""
    if not isinstance(value, str) or not re.fullmatch(r"0?[46][04][04]", value):
        raise ValueError("is not the mode of a configuration file; write '0600', '0640' or '0644'")
    return f"0{value[-3:]}"


def checksums(value: object) -> Mapping[str, str]:
    """Check a mapping of upstream URLs to sha256 sums."""
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
            raise ValueError(
                f"has no valid sha256 for {shown(url)}; write its 64 hexadecimal digits in lower case"
            )
    return dict(value)
