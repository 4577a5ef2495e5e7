"""Node images: plain minimal Debian servers, made once and found again by a hash of what goes into them."""

import hashlib
import subprocess
import tempfile
import time
from pathlib import Path

from tests.lab.docker import LabError, docker, image_exists
from tests.lab.layout import LABEL, MIRROR_URL, cache_folder
from tests.lab.machine import debian_sources, require

CODENAMES = {12: "bookworm", 13: "trixie"}
"""Debian releases that hosts can have."""

_RECIPE = Path(__file__).parent / "image"
_PULL_TIMEOUT = 300
"""Seconds; Docker Hub is asked once per release, and a network that swallows packets must not hold up the lab."""


def host_image(*, debian: int, mirror_key: str | None = None) -> str:
    """Tag of the node image of this Debian release, made if it is not there.

    With `mirror_key`, the armoured key of the lab's mirror, apt installs from the mirror; without it from where
    the base image does.
    """
    tag = tag_of(debian=debian, mirror_key=mirror_key)
    if not image_exists(tag=tag):
        started = time.monotonic()
        print(f"building the Debian {debian} host image, about 90 s", flush=True)
        _build(debian=debian, tag=tag, mirror_key=mirror_key)
        print(f"built the Debian {debian} host image in {time.monotonic() - started:.0f} s", flush=True)
    return tag


def tag_of(*, debian: int, mirror_key: str | None) -> str:
    """Tag of a node image: release and hash of everything besides the base that decides what it is."""
    digest = hashlib.sha256()
    for name, content in sorted(_context(codename=CODENAMES[debian], mirror_key=mirror_key).items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return f"{LABEL}/host:debian-{debian}-{digest.hexdigest()[:12]}"


def mirror_source(*, codename: str) -> str:
    """apt's entry for the Debian packages that the lab's mirror has (a flat repository, so no components)."""
    return (
        "Types: deb\n"
        f"URIs: {MIRROR_URL}/debian/{codename}/\n"
        "Suites: /\n"
        "Signed-By: /etc/apt/keyrings/mirror.asc\n"
    )


def _context(*, codename: str, mirror_key: str | None) -> dict[str, bytes]:
    """The files that the image is built from."""
    files = {path.name: path.read_bytes() for path in _RECIPE.iterdir()}
    if mirror_key:
        files["mirror.asc"] = mirror_key.encode()
        files["mirror.sources"] = mirror_source(codename=codename).encode()
    return files


def _build(*, debian: int, tag: str, mirror_key: str | None) -> None:
    base = base_image(debian=debian)
    target = "host-with-mirror" if mirror_key else "host"
    log = cache_folder() / "logs" / f"{tag.rpartition(':')[2]}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, log.open("w+") as output:
        for name, content in _context(codename=CODENAMES[debian], mirror_key=mirror_key).items():
            (Path(folder) / name).write_bytes(content)
        (Path(folder) / "entrypoint").chmod(0o755)
        # On docker's default build network the machine's apt source may be out of reach.
        command = ("docker", "build", "--network=host", f"--target={target}", f"--build-arg=BASE={base}")
        built = subprocess.run(
            (*command, f"--label={LABEL}=image", f"--tag={tag}", folder),
            stdout=output,
            stderr=output,
            check=False,
        )
    if built.returncode != 0:
        last = "\n".join(log.read_text().splitlines()[-15:])
        raise LabError(f"building the Debian {debian} host image failed (all of it in {log}):\n{last}")


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
