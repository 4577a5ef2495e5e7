"""Small files of the control planes that arguments of their static pods name, like an audit policy."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import ClassVar, Self

from pydantic import Field, model_validator

from kubeadm_deploys.model import values as typed
from kubeadm_deploys.model.errors import InputError, shortened
from kubeadm_deploys.model.validation import Checked

MOST_BYTES = 262144

_FOLDER = PurePosixPath("/etc/kubernetes")
_TAKEN = ("manifests", "pki", "tmp", "calico", "hetzner", "api-proxy")
"""The folders below it that kubeadm and this package use."""

_PRINTABLE_PATH = re.compile(r"[-._A-Za-z0-9/]+")


class ControlPlaneFile(Checked):
    """One file: its ``content``, or a ``file`` on the operator's machine that has it, and its ``mode``."""

    example: ClassVar[Mapping[str, object]] = {"file": "audit-policy.yaml"}
    secret: ClassVar[bool] = True

    # Some of these files contain keys or tokens, so a message never shows a content.
    content: typed.Content = Field(default="", repr=False)
    file: typed.OptionalPath = ""
    mode: typed.Mode = "0600"

    @model_validator(mode="after")
    def _check_relations(self) -> Self:
        if bool(self.content) == bool(self.file):
            raise ValueError("has neither or both of content and file; set one of them")
        return self


def path_on_control_plane(value: object) -> str:
    """Check the path of such a file: in a folder of its own below /etc/kubernetes, which is never mounted whole.

    Raises:
        ValueError: it is another path.
    """
    example = "write it like /etc/kubernetes/audit/policy.yaml"
    if not isinstance(value, str) or not _PRINTABLE_PATH.fullmatch(value):
        raise ValueError(f"is not the path of a file; {example}")
    path = PurePosixPath(value)
    if str(path) != value or ".." in path.parts or path.parts[:3] != _FOLDER.parts or len(path.parts) < 5:
        raise ValueError(f"is not in a folder below {_FOLDER}; {example}")
    if path.parts[3] in _TAKEN:
        raise ValueError(f"is in a folder that kubeadm or this package uses; {example}")
    return value


def contents(files: Mapping[str, ControlPlaneFile]) -> dict[str, bytes]:
    """Return the contents by path; those of local files are read now.

    Raises:
        InputError: lists every local file that cannot be read, or is too big.
    """
    found, problems = {}, []
    for path, wanted in files.items():
        try:
            found[path] = (
                Path(wanted.file).expanduser().read_bytes() if wanted.file else wanted.content.encode()
            )
        # An unknown user's home raises RuntimeError.
        except (OSError, RuntimeError) as error:
            problems.append(
                f"control_plane_files.{path}.file: {wanted.file} cannot be read ({shortened(str(error))}); correct the path"
            )
            continue
        if not 0 < len(found[path]) <= MOST_BYTES:
            problems.append(
                f"control_plane_files.{path}: has {len(found[path])} bytes; use a file of 1 to {MOST_BYTES} bytes"
            )
    if problems:
        raise InputError(problems)
    return found
