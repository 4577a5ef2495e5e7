"""Whole files that a section owns: compared by sha256, written only where they differ."""

from collections.abc import Mapping
from io import StringIO

from pyinfra import host
from pyinfra.operations import files

from kubeadm_deploys.text import sha256


def differing_files(*, wanted: Mapping[str, str], found: Mapping[str, str]) -> set[str]:
    """The paths whose file is missing or holds something else.

    ``wanted`` is contents by path, ``found`` the sha256 by path of what is there.
    """
    return {path for path, content in wanted.items() if found.get(path) != sha256(content)}


def write_files(*, wanted: Mapping[str, str], found: Mapping[str, str]) -> set[str]:
    """Write the files that differ, mode 0644, and say which they are. Call it inside a deploy."""
    differing = differing_files(wanted=wanted, found=found)
    # The loop goes over all paths, so that the same file is the same operation on every host.
    for path in host.loop(wanted):
        if path in differing:
            files.put(name=f"Write {path}", src=StringIO(wanted[path]), dest=path, mode="644")
    return differing
