"""Container images as files that a registry serves: `blobs/<digest>`, and `<repository>/manifests/<tag>`."""

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PIECE = 1 << 20

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
# Every node unpacks it, which costs less than with gzip.
_LAYER = "application/vnd.oci.image.layer.v1.tar+zstd"


@dataclass(frozen=True)
class Image:
    """One image: programs and files on top of nothing or of a base layer."""

    files: Mapping[str, Path] = field(default_factory=dict)
    """Path in the image to file; all become executable."""
    folders: Mapping[str, Path] = field(default_factory=dict)
    """Path in the image to a folder that is copied with everything in it, executable."""
    empty: tuple[str, ...] = ()
    """Empty files that anybody may write."""
    base: Path | None = None
    """A tar archive to go below, as it is on disk."""
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    user: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


def publish(images: Mapping[str, Image], *, storage: Path) -> None:
    """Put ``images``, by upstream's full names and tags, into the folder of a registry.

    Source: OCI Image Format Specification.
    """
    (storage / "blobs").mkdir(parents=True, exist_ok=True)
    for reference, image in images.items():
        repository, _, tag = reference.rpartition(":")
        with tempfile.TemporaryDirectory(prefix="image-", dir=storage) as folder:
            archive = Path(folder) / "layer.tar"
            _pack(image, archive)
            layers = [_add_layer(each, storage) for each in (image.base, archive) if each]
        config = _configuration(image, diff_ids=[diff_id for _, diff_id in layers])
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _add_document(config, storage, media_type=_CONFIG),
            "layers": [descriptor for descriptor, _ in layers],
        }
        described = _add_document(manifest, storage, media_type=_MANIFEST)
        tags = storage / repository / "manifests"
        tags.mkdir(parents=True, exist_ok=True)
        (tags / tag).hardlink_to(storage / "blobs" / described["digest"])


def _configuration(image: Image, *, diff_ids: list[str]) -> dict[str, Any]:
    environment = {"PATH": _PATH, **image.environment}
    run = {
        "Env": [f"{key}={value}" for key, value in environment.items()],
        "Entrypoint": list(image.entrypoint),
        "Cmd": list(image.command),
        "User": image.user,
    }
    return {
        "architecture": "amd64",
        "os": "linux",
        "config": {key: value for key, value in run.items() if value},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }


def _add_document(document: Mapping[str, Any], storage: Path, *, media_type: str) -> dict[str, Any]:
    content = json.dumps(document).encode()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    (storage / "blobs" / digest).write_bytes(content)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _add_layer(archive: Path, storage: Path) -> tuple[dict[str, Any], str]:
    """Compress an archive into the storage; its descriptor, and the digest of what it is uncompressed."""
    uncompressed, compressed = hashlib.sha256(), hashlib.sha256()
    compressor = zstandard.ZstdCompressor(level=3).compressobj()
    partial = storage / "layer.partial"
    with archive.open("rb") as source, partial.open("wb") as target:
        while piece := source.read(_PIECE):
            uncompressed.update(piece)
            packed = compressor.compress(piece)
            compressed.update(packed)
            target.write(packed)
        packed = compressor.flush()
        compressed.update(packed)
        target.write(packed)
    digest, size = f"sha256:{compressed.hexdigest()}", partial.stat().st_size
    partial.rename(storage / "blobs" / digest)
    return {"mediaType": _LAYER, "digest": digest, "size": size}, f"sha256:{uncompressed.hexdigest()}"


def _pack(image: Image, archive: Path) -> None:
    """Write an image's own layer, the same bytes from the same files.

    It has no entries for the folders above files: in a base image some are links, which an entry would replace.
    """
    with tarfile.open(archive, "w") as layer:
        for place, folder in image.folders.items():
            for path in sorted(folder.rglob("*")):
                _add(layer, path, place=f"{place}/{path.relative_to(folder)}")
        placed: dict[Path, str] = {}
        for place, file in image.files.items():
            _add(layer, file, place=place, same_as=placed.get(file, ""))
            placed.setdefault(file, place)
        for place in image.empty:
            entry = tarfile.TarInfo(place.lstrip("/"))
            entry.mode = 0o666
            layer.addfile(entry)


def _add(layer: tarfile.TarFile, path: Path, *, place: str, same_as: str = "") -> None:
    entry = tarfile.TarInfo(place.lstrip("/"))
    # A Go module's archive keeps no modes, and its folders are read-only: scripts must run, folders be writable.
    entry.mode = 0o755
    if same_as:
        entry.type, entry.linkname = tarfile.LNKTYPE, same_as.lstrip("/")
        layer.addfile(entry)
    elif path.is_dir():
        entry.type = tarfile.DIRTYPE
        layer.addfile(entry)
    else:
        entry.size = path.stat().st_size
        with path.open("rb") as content:
            layer.addfile(entry, content)
