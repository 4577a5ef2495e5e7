"""The lab's images: minimal Debian machines, built once and tagged with a hash of their inputs."""

import hashlib
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.lab.docker import LabError, docker, image_exists
from tests.lab.layout import LABEL, MIRROR_URL, cache_folder
from tests.lab.machine import debian_sources, require

CODENAMES = {12: "bookworm", 13: "trixie"}
"""The Debian releases that hosts can run."""

_HOST_RECIPE = Path(__file__).parent / "image"
_PULL_TIMEOUT = 300
"""Seconds for one pull per release, so that a network that drops packets does not block the lab."""


@dataclass(frozen=True)
class Recipe:
    """The inputs of an image."""

    kind: str
    """The image's purpose, and the target in the Dockerfile; with a mirror that is `<kind>-with-mirror`."""
    debian: int
    folder: Path = _HOST_RECIPE
    base: str = ""
    """Tag of the base image; empty for a plain Debian."""
    mirror_key: str | None = None
    """Armoured key of the lab's mirror, from which apt installs in the running machine. During the build, and
    always if there is no key, apt uses the sources of the base image."""

    @property
    def tag(self) -> str:
        """Kind, release and a hash of all inputs except the plain Debian."""
        digest = hashlib.sha256(self.base.encode())
        for name, content in sorted(self.context().items()):
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        return f"{LABEL}/{self.kind}:debian-{self.debian}-{digest.hexdigest()[:12]}"

    def context(self) -> dict[str, bytes]:
        """Return the files of the build context."""
        files = {path.name: path.read_bytes() for path in self.folder.iterdir()}
        if self.mirror_key:
            files["mirror.asc"] = self.mirror_key.encode()
            files["mirror.sources"] = mirror_source(codename=CODENAMES[self.debian]).encode()
        return files


def host_image(*, debian: int, mirror_key: str | None = None) -> str:
    """Return the tag of the docker host image for this Debian release; build it if it is missing."""
    return have(Recipe(kind="host", debian=debian, mirror_key=mirror_key))


def have(recipe: Recipe) -> str:
    """Return the tag of the recipe's image; build it if it is missing."""
    if not image_exists(tag=recipe.tag):
        started = time.monotonic()
        print(f"building the Debian {recipe.debian} {recipe.kind} image, about 90 s", flush=True)
        _build(recipe)
        print(
            f"built the Debian {recipe.debian} {recipe.kind} image in {time.monotonic() - started:.0f} s",
            flush=True,
        )
    return recipe.tag


def mirror_source(*, codename: str) -> str:
    """Return apt's source for the lab's mirror of Debian (a flat repository, so no components)."""
    return (
        "Types: deb\n"
        f"URIs: {MIRROR_URL}/debian/{codename}/\n"
        "Suites: /\n"
        "Signed-By: /etc/apt/keyrings/mirror.asc\n"
    )


def _build(recipe: Recipe) -> None:
    base = recipe.base or base_image(debian=recipe.debian)
    target = f"{recipe.kind}-with-mirror" if recipe.mirror_key else recipe.kind
    log = cache_folder() / "logs" / f"{recipe.kind}-{recipe.tag.rpartition(':')[2]}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, log.open("w+") as output:
        for name, content in recipe.context().items():
            (Path(folder) / name).write_bytes(content)
            if content.startswith(b"#!"):
                (Path(folder) / name).chmod(0o755)
        # The machine's apt source may be unreachable from docker's default build network.
        command = ("docker", "build", "--network=host", f"--target={target}", f"--build-arg=BASE={base}")
        built = subprocess.run(
            (*command, f"--label={LABEL}=image", f"--tag={recipe.tag}", folder),
            stdout=output,
            stderr=output,
            check=False,
        )
    if built.returncode != 0:
        last = "\n".join(log.read_text().splitlines()[-15:])
        raise LabError(
            f"building the Debian {recipe.debian} {recipe.kind} image failed (full log: {log}):\n{last}"
        )


def base_image(*, debian: int) -> str:
    """Return the tag of Docker Hub's Debian image; if it cannot be pulled, build one with mmdebstrap."""
    official = f"debian:{debian}"
    made = f"{LABEL}/base:debian-{debian}"
    for tag in (official, made):
        if image_exists(tag=tag):
            return tag
    try:
        docker("pull", official, timeout=_PULL_TIMEOUT)
    except LabError as error:
        print(f"{official} cannot be pulled, building it with mmdebstrap ({error})", flush=True)
        _make_base(codename=CODENAMES[debian], tag=made)
        return made
    return official


def _make_base(*, codename: str, tag: str) -> None:
    sources = debian_sources(codename=codename)
    if not sources:
        raise LabError(
            f"cannot get Debian {codename} for a host image: Docker Hub cannot be reached, and apt on this "
            "machine has no Debian source (on Debian, try `apt-get update`)"
        )
    require(command="mmdebstrap", package="mmdebstrap")
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "base.tar"
        made = subprocess.run(
            (
                # Not syncing to disk after each package is faster, and safe for a throw-away image.
                *("mmdebstrap", "--quiet", "--variant=minbase", "--dpkgopt=force-unsafe-io"),
                *(codename, str(archive), *(source.line() for source in sources)),
            ),
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise LabError(f"mmdebstrap {codename} failed:\n{made.stderr.strip()}")
        docker("import", f"--change=LABEL {LABEL}=image", str(archive), tag)
