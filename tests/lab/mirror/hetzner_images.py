"""Stand-ins for Hetzner's cloud controller manager and CSI driver, under upstream's names: see README.md."""

import re
import shutil
from pathlib import Path

from tests.lab.mirror.commands import run
from tests.lab.mirror.golang import BUILD, ENVIRONMENT, STRIPPED
from tests.lab.mirror.images import Image, publish

SOURCE = Path(__file__).with_name("hetzner")
MANIFESTS = {
    "ccm-networks.yaml": (
        "hcloud-cloud-controller-manager/cfbbbd9d6f249e835f4499f4a2aa10ee59b2eb07/deploy/ccm-networks.yaml"
    ),
    "hcloud-csi.yml": (
        "csi-driver/3186e78786031b759e875315a64eb79869f277e4/deploy/kubernetes/hcloud-csi.yml"
    ),
}
"""Where upstream's repositories have each manifest, at the commits that the product knows."""

RECIPE = tuple(f"hetzner/{path.relative_to(SOURCE)}" for path in sorted(SOURCE.rglob("*")) if path.is_file())


def make(folder: Path, *, version: str) -> None:
    """Build the programs, and publish the images and manifests; `version` is the cloud controller's."""
    programs = folder / "bin"
    run(*BUILD, STRIPPED, "-o", f"{programs}/", ".", "./idle", cwd=SOURCE, env=ENVIRONMENT)
    controller = "/bin/hcloud-cloud-controller-manager"
    images = {
        f"docker.io/hetznercloud/hcloud-cloud-controller-manager:v{version}": Image(
            files={controller: programs / "hetzner"}, entrypoint=[controller]
        ),
        **{
            name: Image(files={"/idle": programs / "idle"}, entrypoint=["/idle"])
            for name in re.findall(r"image: (\S+)", (SOURCE / "hcloud-csi.yml").read_text())
        },
    }
    publish(images, storage=folder / "registry")
    for name, place in MANIFESTS.items():
        target = folder / "www/raw.githubusercontent.com/hetznercloud" / place
        target.parent.mkdir(parents=True)
        shutil.copyfile(SOURCE / name, target)
