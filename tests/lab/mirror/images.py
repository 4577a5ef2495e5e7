"""Container images, made layer by layer with crane and kept as the storage of a registry."""

import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.docker import LabError
from tests.lab.mirror.commands import run
from tests.lab.mirror.releases import pack

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


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
    """A compressed layer to go below."""
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    user: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


def publish(images: Mapping[str, Image], *, storage: Path, crane: Path, server: Path) -> None:
    """Put `images`, by upstream's full names and tags, into a registry's storage folder."""
    with _registry(storage=storage, server=server) as address:
        for name, image in images.items():
            _push(image, reference=f"{address}/{name}", crane=crane)


def _push(image: Image, *, reference: str, crane: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        layer = Path(folder) / "layer.tar.gz"
        _pack_layer(image, layer=layer)
        layers = [image.base, layer] if image.base else [layer]
        append = [str(crane), "append", "--oci-empty-base", "--new_tag", reference]
        run(*append, *(f"--new_layer={path}" for path in layers))
    run(str(crane), "mutate", *_configuration(image), "--tag", reference, reference)


def _configuration(image: Image) -> list[str]:
    """What the image's config says beside its layers, as arguments of `crane mutate`."""
    environment = {"PATH": _PATH, **image.environment}
    arguments = [
        "--set-platform=linux/amd64",
        *(f"--env={key}={value}" for key, value in environment.items()),
    ]
    if image.entrypoint:
        arguments.append(f"--entrypoint={','.join(image.entrypoint)}")
    if image.command:
        arguments.append(f"--cmd={','.join(image.command)}")
    if image.user:
        arguments.append(f"--user={image.user}")
    return arguments


def _pack_layer(image: Image, *, layer: Path) -> None:
    root = layer.parent / "root"
    root.mkdir()
    for place, folder in image.folders.items():
        shutil.copytree(folder, root / place.lstrip("/"), copy_function=shutil.copyfile)
    _make_executable(root)
    placed: dict[Path, Path] = {}
    for place, file in image.files.items():
        target = _place(root, place)
        if file in placed:
            target.hardlink_to(placed[file])
        else:
            shutil.copyfile(file, target)
        placed.setdefault(file, target)
    _make_executable(root)
    for place in image.empty:
        target = _place(root, place)
        target.touch()
        target.chmod(0o666)
    pack(layer, folder=root, names=sorted(path.name for path in root.iterdir()))


def _make_executable(root: Path) -> None:
    """A Go module's archive keeps no modes, and its folders are read-only: scripts must run, folders be writable."""
    for path in root.rglob("*"):
        path.chmod(0o755)


def _place(root: Path, place: str) -> Path:
    target = root / place.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


@contextmanager
def _registry(*, storage: Path, server: Path) -> Iterator[str]:
    """A registry that writes into `storage`, for as long as the context lasts."""
    storage.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [str(server), f"-listen={address}", f"-images={storage}", f"-files={storage}", "-writable"]
    with tempfile.TemporaryFile("w+") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _wait_for(f"http://{address}/v2/", process=process)
            yield address
        finally:
            process.terminate()


def _wait_for(url: str, *, process: subprocess.Popen[bytes], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, ConnectionError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"the registry for making images does not answer at {url}: {error}") from None
        time.sleep(0.1)
