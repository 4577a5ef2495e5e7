"""Whole files that a section owns: compared by sha256, written only where they differ."""

from collections.abc import Mapping

from kubeadm_deploys.operations import text_files
from kubeadm_deploys.text import sha256


def differing_files(*, wanted: Mapping[str, str], found: Mapping[str, str]) -> set[str]:
    """The paths whose file is missing or holds something else.

    ``wanted`` is contents by path, ``found`` the sha256 by path of what is there.
    """
    return {path for path, content in wanted.items() if found.get(path) != sha256(content)}


def write_files(*, wanted: Mapping[str, str], found: Mapping[str, str]) -> set[str]:
    """Write the files that differ, and say which they are. Call it inside a deploy."""
    differing = differing_files(wanted=wanted, found=found)
    if differing:
        first, *others = sorted(differing)
        more = f" and {len(others)} more" if others else ""
        text_files.written(
            name=f"Write {first}{more}",
            contents={path: wanted[path].encode() for path in (first, *others)},
        )
    return differing
