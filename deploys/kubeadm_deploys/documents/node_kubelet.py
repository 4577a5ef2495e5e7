"""The files that add fields to one node's kubelet: the kubelet's drop-in configuration, and systemd's that names its folder.

kubeadm writes /var/lib/kubelet/config.yaml anew at each init, join and upgrade, and never touches these two. The kubelet
merges its drop-in into that file: mappings key by key, lists as a whole. Source: Kubernetes documentation, "Kubelet
Configuration Directory Merging" (beta in 1.30, stable in 1.35), and mergeKubeletConfigurations in cmd/kubelet/app/server.go.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import yaml

from kubeadm_deploys.documents.templates import sha256, yaml_text

FIELDS_FILE = "/etc/kubernetes/kubeadm-deploys-kubelet.conf.d/fields.conf"
"""The kubelet ignores files without this ending, so other files of its exchange may lie beside it.

The folder is our own: files of an administrator in /etc/kubernetes/kubelet.conf.d, the example of Kubernetes' documentation,
must not take effect with our unit's drop-in.
"""

UNIT_FILE = "/etc/systemd/system/kubelet.service.d/20-kubeadm-deploys.conf"
"""Sorts after 10-kubeadm.conf of the kubelet's package, whose variable it replaces."""

PATHS = (FIELDS_FILE, UNIT_FILE)

_FOLDER = PurePosixPath(FIELDS_FILE).parent

_FINISHED = "# Written by kubeadm-deploys from node_kubelet_configuration; sha256 of the rest: "
_UNFINISHED = "# Written by kubeadm-deploys, whose change has not ended; sha256 of the rest: "


def _sealed(text: str, seal: str = _FINISHED) -> str:
    """Return a text below a line with its checksum, by which an edit is seen."""
    return f"{seal}{sha256(text)}\n{text}"


UNIT = _sealed(
    "[Service]\n"
    'Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml'
    f' --config-dir={_FOLDER}"\n'
)
"""The content of ``UNIT_FILE``."""


def fields_document(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a KubeletConfiguration with these fields; the order in the inventory makes no difference."""
    plain: dict[str, Any] = json.loads(json.dumps(fields, sort_keys=True))
    return {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", **plain}


def fields_file(fields: Mapping[str, Any], *, unfinished: bool = False) -> str:
    """Return the content of ``FIELDS_FILE``; it is ``unfinished`` until all that belongs to a change is done."""
    return _sealed(yaml_text(fields_document(fields)), _UNFINISHED if unfinished else _FINISHED)


def wanted_files(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return the contents of both files by path, none without fields."""
    return {FIELDS_FILE: fields_file(fields), UNIT_FILE: UNIT} if fields else {}


def differ(fields: Mapping[str, Any], *, found: Mapping[str, str]) -> bool:
    """Return whether a machine's files are not those of these fields; ``found`` has sha256 of files by path."""
    wanted = {path: sha256(content) for path, content in wanted_files(fields).items()}
    return wanted != {path: found[path] for path in PATHS if path in found}


@dataclass(frozen=True, kw_only=True)
class FoundFiles:
    """What a machine's files contain, empty if it has none.

    ``fields`` are those of the file, ``unfinished`` is whether a change of them has not ended, and ``edited`` are the paths
    of the files that somebody else has changed or deleted. ``doubtful`` is whether the kubelet may run with other fields.
    """

    contents: Mapping[str, str] = field(default_factory=dict)

    @property
    def fields(self) -> Mapping[str, Any]:
        """The fields in the file; none if they cannot be parsed."""
        try:
            found = yaml.safe_load(self.contents.get(FIELDS_FILE, ""))
        except (yaml.YAMLError, ValueError):
            # ValueError: a date that no calendar has.
            return {}
        found = found if isinstance(found, dict) else {}
        return {key: value for key, value in found.items() if key not in ("apiVersion", "kind")}

    @property
    def unfinished(self) -> bool:
        """Whether a change of the file with the fields has not ended."""
        return self.contents.get(FIELDS_FILE, "").startswith(_UNFINISHED)

    @property
    def edited(self) -> list[str]:
        """The paths of the files whose checksum is not that of their content, or that only somebody else deletes.

        A change that was cut off leaves no unit without fields, and fields without a unit only if it is unfinished.
        """
        changed = [path for path, content in self.contents.items() if not _is_intact(content)]
        if UNIT_FILE in self.contents and FIELDS_FILE not in self.contents:
            changed.append(FIELDS_FILE)
        if UNIT_FILE not in self.contents and self.fields and not self.unfinished:
            changed.append(UNIT_FILE)
        return changed

    @property
    def doubtful(self) -> bool:
        """Whether the kubelet may run with other fields than those in the file."""
        unit_names_folder = f" --config-dir={_FOLDER}" in self.contents.get(UNIT_FILE, "")
        return bool(self.edited) or (bool(self.fields) and not unit_names_folder)


def _is_intact(content: str) -> bool:
    line, _, rest = content.partition("\n")
    return line in (f"{_FINISHED}{sha256(rest)}", f"{_UNFINISHED}{sha256(rest)}")
