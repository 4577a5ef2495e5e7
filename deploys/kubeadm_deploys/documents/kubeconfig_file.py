"""Read a kubeconfig on the operator's machine: the clusters it belongs to, and the CA that it trusts.

Source: Kubernetes documentation, "Organizing cluster access using kubeconfig files"; client-go's
tools/clientcmd/api.
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
    """Return the user in a cluster's kubeconfig; its cluster and context have the cluster's name."""
    return f"{cluster_name}-admin"


def foreign_entries(path: Path, *, cluster_name: str) -> list[str]:
    """Return a file's entries that are not from the cluster's kubeconfig, like "cluster prod".

    Raises:
        ValueError: the file cannot be parsed; the message is a sentence.
    """
    own = {"clusters": cluster_name, "users": user_name(cluster_name), "contexts": cluster_name}
    return [
        f"{kind.removesuffix('s')} {name}"
        for kind, entries in _read(path).items()
        for name, _ in entries
        if name != own[kind]
    ]


def refusal(path: Path, *, cluster_name: str) -> str:
    """Return why the cluster's kubeconfig must not replace a file, in one sentence; empty if it may."""
    try:
        foreign = foreign_entries(path, cluster_name=cluster_name)
    except ValueError as error:
        return f"{error}; the file was not changed; choose another path with --data kubeconfig=PATH"
    if not foreign:
        return ""
    return (
        f"{path} contains more than cluster {cluster_name} ({', '.join(foreign)}) and was not changed; "
        "choose another path with --data kubeconfig=PATH, and merge the two with: "
        f"KUBECONFIG={shlex.quote(str(path))}:PATH kubectl config view --flatten"
    )


def cluster_ca_of_kubeconfig(path: Path, *, cluster_name: str) -> str | None:
    """Return the CA, in PEM, of the cluster that a kubeconfig calls ``cluster_name``.

    Return None if there is no such file, no such cluster in it, or no CA for the cluster.

    Raises:
        ValueError: the file, or the CA file that it names, cannot be read; the message is a sentence.
    """
    # kubectl also uses the first match.
    for name, cluster in _read(path)["clusters"]:
        if name == cluster_name:
            return _ca(cluster, path=path, cluster_name=cluster_name)
    return None


def set_aside(path: Path, *, cluster_name: str, now: datetime) -> Path | None:
    """Rename the kubeconfig of an earlier cluster of this name, which would be taken for the new one's.

    Return the new path, or None if nothing was renamed: there is no such file, or it has other entries too.

    Raises:
        ValueError: the file cannot be parsed; the message is a sentence.
        OSError: the file cannot be renamed.
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
    # Data in the file takes precedence over a named file.
    if data := cluster.get("certificate-authority-data"):
        try:
            pem = base64.b64decode(data, validate=True).decode()
        except (TypeError, ValueError, binascii.Error):
            raise ValueError(f"{field} is not a certificate in base64") from None
    elif name := cluster.get("certificate-authority"):
        try:
            # The name is relative to the kubeconfig's folder.
            pem = (path.parent / Path(str(name))).read_text()
        except (OSError, ValueError) as error:
            raise ValueError(f"{field} cannot be read ({error})") from None
    else:
        return None
    if _BEGIN not in pem:
        raise ValueError(f"{field} is not a certificate")
    return pem


def _read(path: Path) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """Return a file's clusters, users and contexts with their names; all are empty without a file."""
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
    # PyYAML's errors span several lines; bad text or dates raise ValueError, deep nesting RecursionError.
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ValueError(f"{path} is not a kubeconfig: it is not YAML") from None
    if not document:
        return {}
    is_config = isinstance(document, dict) and document.get("kind", "Config") == "Config"
    # A file with neither a kind nor any of these keys is not a kubeconfig.
    if not is_config or not document.keys() & {"kind", *_KINDS}:
        raise ValueError(f"{path} is not a kubeconfig: it is another YAML document")
    return dict(document)
