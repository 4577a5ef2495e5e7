"""Checks of single values.

Each takes a value and returns it in its normal form, or raises ``ValueError`` with the rest of the
sentence that begins with the field and the value ("pod_subnet: '10.0/16' is not ...; write ...").
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from kubeadm_deploys.findings import CHECKS

_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DNS_NAME = re.compile(rf"{_DNS_LABEL.pattern}(\.{_DNS_LABEL.pattern})*")
_FINGERPRINT = re.compile(r"[0-9A-F]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_PROVIDER_ID = re.compile(r"[a-z][-a-z0-9]*://\S+")
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_TAINT = re.compile(r"([^=:]+)(?:=([^=:]*))?:(NoSchedule|PreferNoSchedule|NoExecute)")

ROLE_PREFIX = "node-role.kubernetes.io"
"""Of the labels that kubectl shows as a node's roles."""

_KUBELETS_PREFIXES = ("kubernetes.io", "beta.kubernetes.io", "failure-domain.beta.kubernetes.io")
_KUBERNETES_TAINT_PREFIXES = ("node.kubernetes.io", "node.cloudprovider.kubernetes.io")


def version(value: object) -> str:
    """A release number like 1.36.3; a leading ``v`` is dropped."""
    match = _VERSION.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError("is not a version; write three numbers, like 1.36.3")
    return ".".join(match.groups())


def network(value: object) -> str:
    """An IPv4 network whose host bits are zero."""
    if not isinstance(value, str) or "/" not in value:
        raise ValueError("is not an IPv4 network; write it like 10.244.0.0/16")
    try:
        return str(ipaddress.IPv4Network(value))
    except ValueError as error:
        raise ValueError(f"is not an IPv4 network ({error}); write it like 10.244.0.0/16") from None


def address(value: object) -> str:
    """An IPv4 address."""
    try:
        return str(ipaddress.IPv4Address(value if isinstance(value, str) else ""))
    except ValueError:
        raise ValueError("is not an IPv4 address; write it like 10.0.0.2") from None


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
    if not isinstance(value, list | tuple):
        raise ValueError("is not a list; write it like ['10.0.0.53', '9.9.9.9']")
    if len(value) > 3:
        raise ValueError("has more than three addresses, and a resolver asks no more; write at most three")
    return tuple(_nameserver(entry) for entry in value)


def _nameserver(value: object) -> str:
    try:
        found = ipaddress.IPv4Address(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(
            f"has {value!r}, which is not an IPv4 address, and pods have no other; write it like 9.9.9.9"
        ) from None
    if found.is_loopback or found.is_unspecified:
        raise ValueError(f"has {value!r}, which in a pod is the pod itself; name a DNS server on the network")
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


def dns_name_or_empty(value: object) -> str:
    """A DNS name, or the empty string for the default."""
    return "" if value == "" else dns_name(value)


def san(value: object) -> str:
    """What may stand in a certificate: a DNS name or an IP address."""
    try:
        return str(ipaddress.ip_address(value)) if isinstance(value, str) else dns_name(value)
    except ValueError:
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
    parts = urlsplit(value) if isinstance(value, str) else None
    if not parts or parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise ValueError("is not a URL; write it like http://10.0.0.9:8080, or leave it empty")
    return str(value).rstrip("/")


def path_or_empty(value: object) -> str:
    """A path of a file, or the empty string for the default."""
    if not isinstance(value, str) or value.endswith("/") or "\0" in value:
        raise ValueError("is not the path of a file; write it like clusters/one.kubeconfig")
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
        if value not in choices:
            raise ValueError(f"is not known; choose {' or '.join(filter(None, choices))}")
        return str(value)

    return check


def tuple_of(item: Callable[[object], str]) -> Callable[[object], tuple[str, ...]]:
    """A list whose items all pass ``item``."""

    def check(value: object) -> tuple[str, ...]:
        if not isinstance(value, list | tuple):
            raise ValueError("is not a list; write it like ['a', 'b']")
        return tuple(item(entry) for entry in value)

    return check


def preflight_check(value: object) -> str:
    """The name of a kubeadm preflight check, like SystemVerification; ``all`` is refused."""
    if (
        not isinstance(value, str)
        or not re.fullmatch(r"[A-Za-z][-A-Za-z0-9]*", value)
        or value.lower() == "all"
    ):
        raise ValueError("is not the name of one kubeadm preflight check; write it like SystemVerification")
    return value


def waivable_check(value: object) -> str:
    """The name of one of our own checks that may be waived."""
    waivable = [name for name, check in CHECKS.items() if check.waivable]
    if value in waivable:
        return str(value)
    if value in CHECKS:
        raise ValueError(f"has {value!r}, which cannot be waived; do what its finding says")
    if isinstance(value, str) and value.lower() == "all":
        raise ValueError("has 'all'; name the checks that you mean, one by one")
    raise ValueError(f"has {value!r}, which is no check; choose among {', '.join(waivable)}")


def document(value: object) -> Mapping[str, Any]:
    """A mapping that becomes part of a configuration document."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError("is not a mapping; write it like {'maxPods': 200}")
    return dict(value)


def checksums(value: object) -> Mapping[str, str]:
    """A mapping of upstream URLs to sha256 sums."""
    if not isinstance(value, Mapping):
        raise ValueError("is neither a file nor a mapping of upstream URLs to sha256 sums")
    for url, checksum in value.items():
        if not isinstance(checksum, str) or not _SHA256.fullmatch(checksum):
            raise ValueError(f"has no sha256 for {url}; write its 64 hexadecimal digits in lower case")
    return dict(value)


def node_labels(value: object, *, kept: Mapping[str, str] = MappingProxyType({})) -> Mapping[str, str]:
    """Labels of a node, by key; no roles, none that the kubelet sets, and none of ``kept``: by key, what sets them.

    Source: Kubernetes documentation, "Labels and Selectors", "Well-Known Labels, Annotations and Taints".
    """
    if not isinstance(value, Mapping):
        raise ValueError("is not a mapping; write it like {'disk': 'ssd'}")
    for key, content in value.items():
        if not _is_label_key(key):
            raise ValueError(
                f"has {key!r}, which is no label; write at most 63 letters, digits and inner '-', '_' and '.', "
                "with a DNS name before it if need be, like example.com/disk"
            )
        prefix = _prefix(key)
        if prefix == ROLE_PREFIX:
            raise ValueError(f"has {key!r}, which is a role; name it in node_roles")
        if keeper := "the kubelet" if prefix in _KUBELETS_PREFIXES else kept.get(key):
            raise ValueError(f"has {key!r}, which {keeper} sets itself; leave it out")
        if not _is_label_value(content):
            raise ValueError(
                f"has {content!r} for {key!r}; write text of at most 63 letters, digits and inner '-', '_' and '.', "
                "or '' for none"
            )
    return dict(value)


def node_taints(value: object) -> Mapping[str, str]:
    """Taints of a node: their values by key and effect ("dedicated:NoSchedule"), which tell taints apart.

    Source: Kubernetes documentation, "Taints and Tolerations".
    """
    if not isinstance(value, list | tuple):
        raise ValueError("is not a list; write it like ['dedicated=gpu:NoSchedule']")
    taints: dict[str, str] = {}
    for entry in value:
        match = _TAINT.fullmatch(entry) if isinstance(entry, str) else None
        key, content, effect = match.groups(default="") if match else ("", "", "")
        if not _is_label_key(key) or not _is_label_value(content):
            raise ValueError(
                f"has {entry!r}, which is no taint; write it like dedicated=gpu:NoSchedule or spot:NoExecute "
                "(the third effect is PreferNoSchedule)"
            )
        if _prefix(key) in _KUBERNETES_TAINT_PREFIXES:
            raise ValueError(f"has {entry!r}, which Kubernetes sets itself; leave it out")
        if f"{key}:{effect}" in taints:
            raise ValueError(f"has {key}:{effect} twice; give it one value")
        taints[f"{key}:{effect}"] = content
    return taints


def node_roles(value: object) -> tuple[str, ...]:
    """Roles of a node, beside that of a control plane."""
    if not isinstance(value, list | tuple):
        raise ValueError("is not a list; write it like ['gpu']")
    for role in value:
        if not isinstance(role, str) or not _LABEL_NAME.fullmatch(role):
            raise ValueError(
                f"has {role!r}, which is no role; write at most 63 letters, digits and inner '-', '_' and '.'"
            )
        if role == "control-plane":
            raise ValueError(f"has {role!r}, which kubeadm gives; put the host into the group control_plane")
    return tuple(value)


def _is_label_key(value: object) -> bool:
    if not isinstance(value, str):
        return False
    prefix, slash, name = value.rpartition("/")
    return bool(_LABEL_NAME.fullmatch(name)) and (
        not slash or (bool(_DNS_NAME.fullmatch(prefix)) and len(prefix) <= 253)
    )


def _is_label_value(value: object) -> bool:
    return value == "" or (isinstance(value, str) and bool(_LABEL_NAME.fullmatch(value)))


def _prefix(key: str) -> str:
    return key.rpartition("/")[0]
