"""Write the files of ``control_plane_files``: an audit policy, for example, that an API server's argument names.

A control plane gets them before kubeadm starts its static pods, which would not come up without them.
Source: Kubernetes documentation, "Auditing" and "Authenticating".
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from pyinfra import host
from pyinfra.api import FactBase, deploy
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.facts.kubeadm_node import KubeadmNode, KubeadmNodeState
from kubeadm_deploys.model.control_plane_file import ControlPlaneFile, contents
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations import text_files
from kubeadm_deploys.remote import lines
from kubeadm_deploys.remote.answers import Reading
from kubeadm_deploys.remote.reading import read, read_for_plan
from kubeadm_deploys.scripts import script


@dataclass(frozen=True, kw_only=True)
class ControlPlaneFilesState:
    """The sha256 of the ``files`` that exist, and their ``modes`` like ``0600``, both by path."""

    files: dict[str, str] = field(default_factory=dict)
    modes: dict[str, str] = field(default_factory=dict)


class ControlPlaneFiles(FactBase[ControlPlaneFilesState]):
    """Read both in one command."""

    @override
    def command(self, paths: tuple[str, ...]) -> StringCommand:
        return script("read-control-plane-files", *paths)

    @override
    def process(self, output: list[str]) -> ControlPlaneFilesState:
        values = lines.parse(output)
        return ControlPlaneFilesState(files=lines.files(values), modes=lines.by_prefix(values, "mode:"))


def reading(options: ClusterOptions) -> Reading[ControlPlaneFilesState]:
    """Return the reading of a control plane; only of use if there are ``control_plane_files``."""
    return Reading.of(ControlPlaneFiles, paths=tuple(options.control_plane_files))


def differing(
    files: Mapping[str, ControlPlaneFile], wanted: Mapping[str, bytes], found: ControlPlaneFilesState
) -> list[str]:
    """Return the paths of the files that are missing or have another content (see ``wanted``) or mode."""
    return [
        path
        for path, file in files.items()
        if found.files.get(path) != hashlib.sha256(wanted[path]).hexdigest()
        or found.modes.get(path) != file.mode
    ]


def runs_static_pods(found: KubeadmNodeState) -> bool:
    """Return whether a machine is a control plane whose static pods may use the files: kubeadm has finished."""
    return found.is_control_plane and found.has_joined


@deploy("Control plane files")
def write_control_plane_files(*, options: ClusterOptions, topology: Topology) -> None:
    """Write the files on a machine that is to become a control plane.

    On a control plane of the cluster they are left alone here: its static pods have read them.

    Raises:
        InputError: a local file cannot be read.
    """
    files = options.control_plane_files
    if not files or topology.node(host.name) not in topology.control_planes:
        return
    wanted = contents(files)
    found = read_for_plan(host, reading(options))
    if runs_static_pods(read(host, KubeadmNode)):
        return
    if paths := differing(files, wanted, found):
        first, *others = paths
        more = f" and {len(others)} more" if others else ""
        text_files.written(
            name=f"Write {first}{more}",
            contents={path: wanted[path] for path in paths},
            modes={path: files[path].mode for path in paths},
        )
