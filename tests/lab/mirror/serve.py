"""The mirror's container."""

import json
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.lab import layout
from tests.lab.docker import LabError, docker, ensure_network, image_exists
from tests.lab.mirror import tree
from tests.lab.mirror.components import server

_TREE_LABEL = f"{layout.LABEL}.tree"
_DOCKERFILE = """\
FROM scratch
COPY mirror /mirror
ENTRYPOINT ["/mirror", "-files=/tree/www", "-images=/tree/registry"]
"""


def start() -> None:
    """Serve the current tree; replace a running mirror unless it already serves it."""
    current = tree.current()
    if current is None or not server().made:
        raise LabError("the mirror is not built: run `python -m tests.lab.mirror build`")
    ensure_network()
    image = _image()
    if _described() != {"state": "running", "tree": current.name, "image": image}:
        stop()
        docker(
            *("run", "--detach", f"--name={layout.MIRROR_CONTAINER}", f"--label={layout.LABEL}=mirror"),
            *(f"--label={_TREE_LABEL}={current.name}", "--restart=unless-stopped", "--read-only"),
            # The first process of a container ignores SIGTERM by default; there is nothing to save.
            "--stop-signal=SIGKILL",
            *(f"--network={layout.NETWORK}", f"--ip={layout.MIRROR_ADDRESS}"),
            *(f"--mount=type=bind,source={current},target=/tree,readonly", image),
        )
    _wait_until_it_answers()
    tree.remove_others()


def stop() -> None:
    """Remove the mirror's container, if it exists; refuse one of that name that the lab did not create."""
    described = _inspected()
    if described is None:
        return
    if described["Config"]["Labels"].get(layout.LABEL) != "mirror":
        raise LabError(
            f"docker container {layout.MIRROR_CONTAINER} was not created by the lab: "
            f"remove it with `docker rm -f {layout.MIRROR_CONTAINER}`"
        )
    docker("rm", "--force", layout.MIRROR_CONTAINER)


def status() -> str:
    """Return a text that says what is built and served."""
    current = tree.current()
    built = f"built: {current}" if current else "not built"
    described = _described()
    if described is None:
        return f"{built}\nnot served"
    stale = "" if current and described["tree"] == current.name else ", not the current build"
    return f"{built}\n{described['state']} at {layout.MIRROR_URL}{stale}"


def _image() -> str:
    """Return the tag of the image with the server; build it if it is missing."""
    tag = f"{layout.MIRROR_CONTAINER}:{server().key}"
    if not image_exists(tag=tag):
        with tempfile.TemporaryDirectory(prefix="mirror-image-") as folder:
            (Path(folder) / "Dockerfile").write_text(_DOCKERFILE)
            (Path(folder) / "mirror").write_bytes((server().folder / "bin/mirror").read_bytes())
            (Path(folder) / "mirror").chmod(0o755)
            docker("build", "--quiet", f"--label={layout.LABEL}=image", f"--tag={tag}", folder)
    return tag


def _inspected() -> dict[str, dict[str, dict[str, str]]] | None:
    if not docker("ps", "--all", "--quiet", f"--filter=name=^{layout.MIRROR_CONTAINER}$").strip():
        return None
    (found,) = json.loads(docker("container", "inspect", layout.MIRROR_CONTAINER))
    return dict(found)


def _described() -> dict[str, str] | None:
    """Return state, tree and image of the mirror's container, or None if it does not exist."""
    found = _inspected()
    if found is None:
        return None
    return {
        "state": str(found["State"]["Status"]),
        "tree": found["Config"]["Labels"].get(_TREE_LABEL, ""),
        "image": str(found["Config"]["Image"]),
    }


def _wait_until_it_answers(*, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    url = f"{layout.MIRROR_URL}/v2/"
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            if time.monotonic() > deadline:
                log = docker("logs", "--tail=5", layout.MIRROR_CONTAINER)
                raise LabError(f"the mirror does not answer at {url}: {error}\n{log}") from None
        time.sleep(0.2)
