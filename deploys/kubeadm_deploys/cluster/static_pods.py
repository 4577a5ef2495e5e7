"""Decide which static pods of a control plane change, from their manifests and those that kubeadm would write.

Pure functions of what was read.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from kubeadm_deploys.cluster import live_configuration
from kubeadm_deploys.cluster.reconfiguring import Stopped
from kubeadm_deploys.model.errors import some
from kubeadm_deploys.model.nodes import Node

MANIFESTS = "/etc/kubernetes/manifests"

HEALTH = {
    "kube-apiserver": "https://127.0.0.1:6443/readyz",
    "kube-controller-manager": "https://127.0.0.1:10257/healthz",
    "kube-scheduler": "https://127.0.0.1:10259/healthz",
}
"""Where each static pod answers "ok", in the order in which they are changed."""


@dataclass(frozen=True, kw_only=True)
class Swap:
    """A static pod of one control plane that gets a new manifest, and the paths of the files that it gets with it."""

    name: str
    manifest: str
    arguments: tuple[str, ...]
    new_arguments: bool
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What changes on one control plane: its static pods in order, and files that no static pod reads."""

    node: Node
    swaps: tuple[Swap, ...] = ()
    paths: tuple[str, ...] = ()
    edits: tuple[str, ...] = ()


def turn_of(node: Node, texts: Mapping[str, str], *, paths: Collection[str]) -> Turn:
    """Return what changes on a control plane, from its manifests and those that kubeadm rendered, by the script's keys.

    ``paths`` are the files of the options that differ there. A manifest that equals neither the old nor the new nor a
    pending rendering has edits, which would be lost.

    Raises:
        Stopped: a manifest cannot be read.
    """
    swaps, edits = [], []
    try:
        manifests = {key: yaml.safe_load(text) for key, text in texts.items()}
        for name in HEALTH:
            current, old, new = (manifests[f"{which}:{name}"] for which in ("current", "0", "1"))
            pending = [
                manifest
                for key, manifest in manifests.items()
                if key.endswith(f":{name}") and key.partition(":")[0] not in ("current", "0", "1")
            ]
            read_by_it = tuple(path for path in paths if _mounts(new, path))
            # A pod whose configuration stays keeps its edits, too.
            if not read_by_it and (current == new or (new == old and current not in pending)):
                continue
            if current not in (old, new, *pending):
                found = live_configuration.edits(current, old)
                edits.append(f"{name} of {node.name} ({some(found)})")
            arguments = tuple(live_configuration.arguments_of(new))
            swaps.append(
                Swap(
                    name=name,
                    manifest=texts[f"1:{name}"],
                    arguments=arguments,
                    new_arguments=list(arguments) != live_configuration.arguments_of(current),
                    paths=read_by_it,
                )
            )
    except (KeyError, yaml.YAMLError) as error:
        raise Stopped(
            f"{node.name}: a manifest in {MANIFESTS} cannot be read: {error}; nothing was changed"
        ) from None
    read_by_any = {path for swap in swaps for path in swap.paths}
    return Turn(
        node=node,
        swaps=tuple(swaps),
        paths=tuple(path for path in paths if path not in read_by_any),
        edits=tuple(edits),
    )


def _mounts(manifest: Mapping[str, Any], path: str) -> bool:
    volumes = manifest["spec"].get("volumes") or ()
    folders = [(volume.get("hostPath") or {}).get("path", "").rstrip("/") for volume in volumes]
    return any(folder and (path == folder or path.startswith(f"{folder}/")) for folder in folders)
