"""Whole files that a section owns: compared by sha256, written only where they differ."""

from collections.abc import Collection, Mapping

from kubeadm_deploys.documents.templates import sha256
from kubeadm_deploys.operations import text_files


def differing_files(*, wanted: Mapping[str, str], found: Mapping[str, str]) -> set[str]:
    """Return the paths whose file is missing or differs.

    ``wanted`` has the contents by path, ``found`` the sha256 of the existing files by path.
    """
    return {path for path, content in wanted.items() if found.get(path) != sha256(content)}


def write_files(
    *, wanted: Mapping[str, str], found: Mapping[str, str], private: Collection[str] = ()
) -> set[str]:
    """Write the files that differ, and return their paths. Call it inside a deploy.

    Only root may read those of them that are ``private``.
    """
    differing = differing_files(wanted=wanted, found=found)
    if differing:
        first, *others = sorted(differing)
        more = f" and {len(others)} more" if others else ""
        text_files.written(
            name=f"Write {first}{more}",
            contents={path: wanted[path].encode() for path in (first, *others)},
            private=private,
        )
    return differing
