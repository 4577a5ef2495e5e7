"""Checks of URLs, proxies and image registries, like those in ``checks``."""

import ipaddress
import re
from contextlib import suppress

from kubeadm_deploys.model import checks
from kubeadm_deploys.model.errors import shown

# Host names may contain underscores, like docker's. User, password and query are not allowed, because apt,
# curl and containerd interpret them differently.
_HOST_LABEL = r"[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?"
_URL = re.compile(
    rf"https?://({_HOST_LABEL}(\.{_HOST_LABEL})*|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])"
    r"(:(?P<port>[0-9]{1,5}))?(/[-._~%:@+=,/A-Za-z0-9]*)?"
)
# The URL goes into files of apt, systemd and the shell, so what one of them would interpret must be encoded.
_USER_INFO = r"([-._+=,A-Za-z0-9]|%[0-9A-Fa-f]{2})"
_PROXY = re.compile(
    rf"https?://({_USER_INFO}+(:{_USER_INFO}*)?@)?"
    rf"({_HOST_LABEL}(\.{_HOST_LABEL})*|\[(?P<ipv6>[0-9A-Fa-f:.]+)\]):(?P<port>[0-9]{{1,5}})"
)
# Source: distribution's reference grammar, without upper case, which tools treat differently.
_REGISTRY = re.compile(rf"{checks.DNS_NAME.pattern}(:(?P<port>[0-9]{{1,5}}))?")
_OTHER_NAMES_OF_DOCKER = ("index.docker.io", "registry-1.docker.io")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def url_or_empty(value: object) -> str:
    """Check an http or https URL, returned without a trailing slash; the empty string is allowed."""
    if value == "":
        return ""
    match = _URL.fullmatch(value) if isinstance(value, str) else None
    if not match or not checks.is_ipv6(match["ipv6"] or "::") or not 0 < int(match["port"] or 80) < 2**16:
        raise ValueError("is not a URL; write it like http://10.0.0.9:8080, or leave it empty")
    return match[0].rstrip("/")


def proxy_or_empty(value: object) -> str:
    """Check the URL of a proxy, returned without a trailing slash; the empty string means no proxy.

    Programs have different default ports for proxies, so the port is required.
    """
    if value == "":
        return ""
    match = _PROXY.fullmatch(value.removesuffix("/")) if isinstance(value, str) else None
    if not match or not checks.is_ipv6(match["ipv6"] or "::") or not 0 < int(match["port"]) < 2**16:
        raise ValueError(
            "is not the URL of a proxy; write it like http://10.0.0.9:3128 or http://user:password@10.0.0.9:3128, "
            "with special characters of the password as %40 and the like, or leave it empty"
        )
    return match[0]


def without_proxy(value: object) -> tuple[str, ...]:
    """Check names, addresses and networks that are reached without a proxy; ``*.`` becomes a leading dot."""
    return tuple(
        _without_proxy(entry)
        for entry in checks.items(value, example="['registry.example.com', '10.0.0.0/8']")
    )


def _without_proxy(value: object) -> str:
    text = value.lower() if isinstance(value, str) and "%" not in value else ""
    with suppress(ValueError):
        return str(ipaddress.ip_network(text) if "/" in text else ipaddress.ip_address(text))
    name = text.removeprefix("*") if text.startswith("*.") else text
    try:
        checks.dns_name(name.removeprefix("."))
    except ValueError:
        raise ValueError(
            f"has {shown(value)}, which is no name, address or network; write each like registry.example.com, "
            ".example.com, 10.0.0.9 or 10.0.0.0/8, without a port"
        ) from None
    return name


def registry(value: object) -> str:
    """Check the host of an image registry as the names of images begin with it, with a port if they have one."""
    match = _REGISTRY.fullmatch(value) if isinstance(value, str) else None
    # Without a dot or a port, it would be the first part of a name on Docker's registry.
    is_host = match and ("." in match[0] or ":" in match[0] or match[0] == "localhost")
    if not match or not is_host or not 0 < int(match["port"] or 443) < 2**16:
        raise ValueError("is not the host of a registry; write it like registry.example.com or 10.0.0.9:5000")
    if match[0] in _OTHER_NAMES_OF_DOCKER:
        raise ValueError("is a server of docker.io; write docker.io, as in the names of images")
    return match[0]


def registry_mirror(value: object) -> str:
    """Check the URL of a registry's mirror; a path, if it has one, is where containerd finds the images."""
    example = "https://mirror.example.com or https://mirror.example.com/v2/docker.io"
    if isinstance(value, str) and "@" in value:
        raise ValueError(
            f"has {shown(value)}, but a user and password do not belong into a URL; give the mirror's host an entry "
            "of its own with username and password_env"
        )
    try:
        found = url_or_empty(value)
    except ValueError:
        found = ""
    if not found:
        raise ValueError(f"has {shown(value)}, which is not the URL of a mirror; write it like {example}")
    path = found.split("/")[3:]
    if path and "v2" not in path:
        raise ValueError(f"has {shown(value)}, whose path has no v2; write it like {example}")
    return found


def registry_user(value: object) -> str:
    """Check the name of a registry's user, which HTTP's basic authentication separates with a colon."""
    if not isinstance(value, str) or not value.isprintable() or not value or ":" in value:
        raise ValueError("is not the name of a user; write it without colons, like robot")
    return value


def environment_variable(value: object) -> str:
    """Check the name of an environment variable."""
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
        raise ValueError(
            "is not the name of an environment variable; export the password and name the variable, like "
            "REGISTRY_PASSWORD"
        )
    return value
