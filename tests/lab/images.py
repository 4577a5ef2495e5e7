"""The lab's images: minimal Debian machines, made once and found again by a hash of what goes into them."""

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
"""Debian releases that hosts can have."""

_HOST_RECIPE = Path(__file__).parent / "image"
_PULL_TIMEOUT = 300
"""Seconds; Docker Hub is asked once per release, and a network that swallows packets must not hold up the lab."""


@dataclass(frozen=True)
class Recipe:
    """What an image is made from."""

    kind: str
    """What the image is for, and the target in the recipe's Dockerfile; with a mirror it is `<kind>-with-mirror`."""
    debian: int
    folder: Path = _HOST_RECIPE
    base: str = ""
    """Tag of the image below it; a plain Debian unless it is given."""
    mirror_key: str | None = None
    """Armoured key of the lab's mirror: apt installs from it in the running machine. While the image is made, and
    without a key ever after, apt installs from where the base does."""

    @property
    def tag(self) -> str:
        """Kind, release and hash of everything besides a plain Debian that decides what the image is."""
        digest = hashlib.sha256(self.base.encode())
        for name, content in sorted(self.context().items()):
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        return f"{LABEL}/{self.kind}:debian-{self.debian}-{digest.hexdigest()[:12]}"

    def context(self) -> dict[str, bytes]:
        """The files that the image is built from."""
        files = {path.name: path.read_bytes() for path in self.folder.iterdir()}
        if self.mirror_key:
            files["mirror.asc"] = self.mirror_key.encode()
            files["mirror.sources"] = mirror_source(codename=CODENAMES[self.debian]).encode()
        return files


def host_image(*, debian: int, mirror_key: str | None = None) -> str:
    """Tag of the image of a docker host with this Debian release, made if it is not there."""
    return have(Recipe(kind="host", debian=debian, mirror_key=mirror_key))


def have(recipe: Recipe) -> str:
    """Tag of the recipe's image, made if it is not there."""
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
    """apt's entry for the Debian packages that the lab's mirror has (a flat repository, so no components)."""
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
        # On docker's default build network the machine's apt source may be out of reach.
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
            f"building the Debian {recipe.debian} {recipe.kind} image failed (all of it in {log}):\n{last}"
        )


def base_image(*, debian: int) -> str:
    """Docker Hub's Debian image, or where it cannot be pulled one made from the machine's own apt source."""
    official = f"debian:{debian}"
    made = f"{LABEL}/base:debian-{debian}"
    for tag in (official, made):
        if image_exists(tag=tag):
            return tag
    try:
        docker("pull", official, timeout=_PULL_TIMEOUT)
    except LabError as error:
        print(f"{official} cannot be pulled, mmdebstrap makes it instead ({error})", flush=True)
        _make_base(codename=CODENAMES[debian], tag=made)
        return made
    return official


def _make_base(*, codename: str, tag: str) -> None:
    sources = debian_sources(codename=codename)
    if not sources:
        raise LabError(
            f"no Debian {codename} to build a host image from: neither can Docker Hub be reached, "
            "nor does this machine's apt know a Debian mirror (on Debian, try `apt-get update`)"
        )
    require(command="mmdebstrap", package="mmdebstrap")
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "base.tar"
        made = subprocess.run(
            (
                # Syncing to disk after each package would only slow down a throw-away machine.
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
