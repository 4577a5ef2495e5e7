"""What a kubeconfig on the operator's machine holds: whose it is, and which CA it trusts.

Source: Kubernetes documentation, "Organizing cluster access using kubeconfig files"; client-go's tools/clientcmd/api.
"""

import base64
import binascii
import shlex
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

_KINDS = ("clusters", "users", "contexts")
_BEGIN = "-----BEGIN CERTIFICATE-----"


def user_name(cluster_name: str) -> str:
    """The user that a cluster's kubeconfig has; cluster and context are called like the cluster."""
    return f"{cluster_name}-admin"


def foreign_entries(path: Path, *, cluster_name: str) -> list[str]:
    """What a file has that is not of the cluster's own kubeconfig, like "cluster prod"; none where there is no file.

    Raises:
        ValueError: the file cannot be understood; the message is a sentence.
    """
    own = {"clusters": cluster_name, "users": user_name(cluster_name), "contexts": cluster_name}
    return [
        f"{kind.removesuffix('s')} {name}"
        for kind, entries in _read(path).items()
        for name, _ in entries
        if name != own[kind]
    ]


def refusal(path: Path, *, cluster_name: str) -> str:
    """Why the cluster's kubeconfig must not replace a file, in one sentence; empty when it may."""
    try:
        foreign = foreign_entries(path, cluster_name=cluster_name)
    except ValueError as error:
        return f"{error}; it was left as it is: choose another path with --data kubeconfig=PATH"
    if not foreign:
        return ""
    return (
        f"{path} holds more than cluster {cluster_name} ({', '.join(foreign)}) and was left as it is; choose another "
        f"path with --data kubeconfig=PATH, and merge the two with: KUBECONFIG={shlex.quote(str(path))}:PATH kubectl "
        "config view --flatten"
    )


def cluster_ca_of_kubeconfig(path: Path, *, cluster_name: str) -> str | None:
    """The CA, in PEM, by which a kubeconfig knows the cluster that it calls ``cluster_name``.

    None when there is no such file, when it has no such cluster, and when it has no CA for it.

    Raises:
        ValueError: the file, or the one that it names for the CA, cannot be understood; the message is a sentence.
    """
    # The first one counts for kubectl too.
    for name, cluster in _read(path)["clusters"]:
        if name == cluster_name:
            return _ca(cluster, path=path, cluster_name=cluster_name)
    return None


def set_aside(path: Path, *, cluster_name: str, now: datetime) -> Path | None:
    """Rename the kubeconfig of an earlier cluster of this name, which would be taken for the new one's.

    Where it is then, or None when nothing was renamed: there is no such file, or it is not of such a cluster alone.

    Raises:
        ValueError: the file cannot be understood; the message is a sentence.
        OSError: it cannot be renamed.
    """
    if cluster_ca_of_kubeconfig(path, cluster_name=cluster_name) is None:
        return None
    if foreign_entries(path, cluster_name=cluster_name):
        return None
    aside = path.with_name(f"{path.name}.before-{now:%Y%m%dT%H%M%SZ}")
    path.rename(aside)
    return aside


def _ca(cluster: dict[str, Any], *, path: Path, cluster_name: str) -> str | None:
    field = f"the CA of cluster {cluster_name} in {path}"
    # What is in the file itself counts before what it names.
    if data := cluster.get("certificate-authority-data"):
        try:
            pem = base64.b64decode(data, validate=True).decode()
        except (TypeError, ValueError, binascii.Error):
            raise ValueError(f"{field} is not a certificate in base64") from None
    elif name := cluster.get("certificate-authority"):
        try:
            # Relative to the kubeconfig's folder.
            pem = (path.parent / Path(str(name))).read_text()
        except (OSError, ValueError) as error:
            raise ValueError(f"{field} cannot be read ({error})") from None
    else:
        return None
    if _BEGIN not in pem:
        raise ValueError(f"{field} is not a certificate")
    return pem


def _read(path: Path) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """A file's clusters, users and contexts, each with its name; none where there is no file."""
    document = _document(path)
    return {kind: list(_entries(document, kind, path=path)) for kind in _KINDS}


def _entries(document: dict[str, Any], kind: str, *, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    malformed = ValueError(f"{path} is not a kubeconfig: its {kind} are not a list of names and values")
    entries = document.get(kind) or []
    if not isinstance(entries, list):
        raise malformed
    for entry in entries:
        if not isinstance(entry, dict) or "name" not in entry:
            raise malformed
        value = entry.get(kind.removesuffix("s")) or {}
        if not isinstance(value, dict):
            raise malformed
        yield str(entry["name"]), value


def _document(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None
    # PyYAML's own errors have several lines; what is no text or no date is a ValueError, and too deep a RecursionError.
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ValueError(f"{path} is not a kubeconfig: it is not YAML") from None
    if not document:
        return {}
    is_config = isinstance(document, dict) and document.get("kind", "Config") == "Config"
    # A file that says neither what it is nor has any of these is something else.
    if not is_config or not document.keys() & {"kind", *_KINDS}:
        raise ValueError(f"{path} is not a kubeconfig: it is something else in YAML")
    return dict(document)
