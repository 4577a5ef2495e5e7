"""Images of the lab's mirror are valid: digests match the blobs, and layers hold the requested files."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import zstandard

from tests.lab.mirror.images import Image, publish

NAME = "registry.example/group/program"


def published(storage: Path, image: Image) -> dict[str, Any]:
    publish({f"{NAME}:v1": image}, storage=storage)
    for blob in (storage / "blobs").iterdir():
        assert blob.name == f"sha256:{hashlib.sha256(blob.read_bytes()).hexdigest()}"
    manifest: dict[str, Any] = json.loads((storage / NAME / "manifests/v1").read_text())
    return manifest


def blob(storage: Path, descriptor: dict[str, Any]) -> bytes:
    content = (storage / "blobs" / str(descriptor["digest"])).read_bytes()
    assert len(content) == descriptor["size"]
    return content


def test_image_has_its_base_and_its_own_layer(tmp_path: Path) -> None:
    program, folder, base = tmp_path / "program", tmp_path / "etc", tmp_path / "base.tar"
    program.write_text("run")
    (folder / "service/empty").mkdir(parents=True)
    (folder / "service/start").write_text("start")
    with tarfile.open(base, "w") as archive:
        archive.add(program, "below")
    image = Image(
        files={"/bin/program": program, "/bin/same": program},
        folders={"/etc": folder},
        empty=("/status",),
        base=base,
        entrypoint=["/bin/program"],
        user="999",
    )
    manifest = published(tmp_path / "registry", image)
    layers = [
        zstandard.ZstdDecompressor().decompressobj().decompress(blob(tmp_path / "registry", layer))
        for layer in manifest["layers"]
    ]
    config = json.loads(blob(tmp_path / "registry", manifest["config"]))
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    assert (config["config"]["Entrypoint"], config["config"]["User"]) == (["/bin/program"], "999")
    assert layers[0] == base.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(layers[1])) as archive:
        entries = {entry.name: (entry.mode, entry.isdir(), entry.linkname) for entry in archive}
    assert entries == {
        "etc/service": (0o755, True, ""),
        "etc/service/empty": (0o755, True, ""),
        "etc/service/start": (0o755, False, ""),
        "bin/program": (0o755, False, ""),
        "bin/same": (0o755, False, "bin/program"),
        "status": (0o666, False, ""),
    }


def test_same_inputs_produce_the_same_bytes(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("run")
    one, other = (published(tmp_path / name, Image(files={"/program": program})) for name in ("one", "other"))
    assert one == other
