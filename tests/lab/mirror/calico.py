"""Calico's programs and manifests."""

import shutil
from pathlib import Path

from tests.lab.mirror.golang import go_build, module_folder

MODULE = "github.com/projectcalico/calico"
VERSIONS = {"3.31.0": "v0.0.0-20251021213802-b1f3c43f8437"}
"""Calico's tags are no Go versions: the commit of each release."""

# What upstream's go.mod replaces by folders of its repository; lib/httpmachinery is not needed by these programs.
_REPLACE = {
    "github.com/projectcalico/api": "v0.0.0-20251022175904-f2ab03771208",
    "github.com/projectcalico/calico/lib/std": "v0.0.0-20251021213802-b1f3c43f8437",
}
# The modules of Calico's repository are not in the checksum database; these were recorded when they were first used.
_SUMS = Path(__file__).with_name("calico.sum").read_text()
_ENV = {"GONOSUMDB": "github.com/projectcalico/*"}


def source(version: str) -> Path:
    """Read-only folder with Calico's source."""
    return module_folder(module=MODULE, version=VERSIONS[version], sums=_SUMS, env=_ENV)


def make(folder: Path, *, version: str) -> None:
    """Build the programs of the images node, cni and kube-controllers, and publish the release's manifests."""
    for cgo, packages in (
        # Without cgo felix has no eBPF dataplane, which nobody asks for here and libbpf would be needed for.
        (False, ("node/cmd/calico-node", "cni-plugin/cmd/calico", "cni-plugin/cmd/install")),
        (False, ("kube-controllers/cmd/kube-controllers", "kube-controllers/cmd/check-status")),
        (False, ("kube-controllers/cmd/wrapper",)),
        (True, ("node/cmd/mountns",)),
    ):
        go_build(
            module=MODULE,
            version=VERSIONS[version],
            packages=packages,
            output=folder / "bin",
            ldflags=f"-X {MODULE}/pkg/buildinfo.Version=v{version}",
            cgo=cgo,
            replace=_REPLACE,
            sums=_SUMS,
            env=_ENV,
        )
    manifests = folder / f"www/raw.githubusercontent.com/projectcalico/calico/v{version}/manifests"
    manifests.mkdir(parents=True)
    for name in ("calico.yaml", "calico-vxlan.yaml"):
        shutil.copyfile(source(version) / "manifests" / name, manifests / name)
