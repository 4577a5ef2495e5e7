"""The folder that is served: the files of all components together, as hard links."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.lab.mirror.cache import Component, mirror_cache

RELEASE_HOSTS = ("github.com", "raw.githubusercontent.com")
"""Hosts whose files clients know by checksum."""


def current() -> Path | None:
    """The tree to serve; None while there is none."""
    return _current_link().resolve() if _current_link().is_dir() else None


def checksums() -> Path:
    """The current tree's list of release files: `<sha256>  <upstream URL>` a line."""
    return _current_link() / "www/checksums.txt"


def assemble(components: Sequence[Component]) -> Path:
    """Make the tree of these components the current one: `www` with the files, `registry` with the images."""
    keys = "\n".join((Path(__file__).read_text(), *(component.key for component in components)))
    tree = mirror_cache() / "trees" / hashlib.sha256(keys.encode()).hexdigest()[:16]
    if not tree.is_dir():
        partial = tree.with_name(f"{tree.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        for component in components:
            for part in ("www", "registry"):
                _link_files(component.folder / part, partial / part)
        (partial / "www/checksums.txt").write_text(_checksums(partial / "www"))
        partial.rename(tree)
    fresh = _current_link().with_suffix(".partial")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(tree.relative_to(mirror_cache()))
    fresh.replace(_current_link())
    return tree


def remove_others() -> None:
    """Remove the trees that are not the current one."""
    keep = current()
    for tree in (mirror_cache() / "trees").glob("*"):
        if tree != keep:
            shutil.rmtree(tree)


def _current_link() -> Path:
    return mirror_cache() / "current"


def _link_files(source: Path, target: Path) -> None:
    """Hard links and not symbolic ones: the tree alone is mounted into the server, and a component may be replaced."""
    for folder, _, names in os.walk(source):
        place = target / Path(folder).relative_to(source)
        place.mkdir(parents=True, exist_ok=True)
        for name in names:
            # Versions of Kubernetes share images and blobs; a tag that both have belongs to the first.
            if not (place / name).exists():
                os.link(Path(folder) / name, place / name)


def _checksums(files: Path) -> str:
    """Lines as of sha256sum with the upstream URL of each release file."""
    released = sorted(path for host in RELEASE_HOSTS for path in (files / host).rglob("*") if path.is_file())
    lines = []
    for path in released:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        lines.append(f"{digest}  https://{path.relative_to(files)}\n")
    return "".join(lines)
