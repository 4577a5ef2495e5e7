"""Kubernetes' own programs from the module k8s.io/kubernetes."""

import re
from pathlib import Path

from tests.lab.mirror.commands import run
from tests.lab.mirror.golang import folder_replacements, go_build, module_folder

MODULE = "k8s.io/kubernetes"
NODE_PROGRAMS = ("kubeadm", "kubelet", "kubectl")
IMAGE_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")


def make(folder: Path, *, version: str) -> None:
    """Build the programs of `version` (as 1.37.2), agnhost and pause into `folder/bin`."""
    major, minor, patch = version.split(".")
    staging = folder_replacements(module=MODULE, version=f"v{version}")
    package = "k8s.io/component-base/version"
    go_build(
        module=MODULE,
        version=f"v{version}",
        packages=[*(f"cmd/{name}" for name in (*NODE_PROGRAMS, *IMAGE_PROGRAMS)), "test/images/agnhost"],
        output=folder / "bin",
        # Upstream publishes what its repository keeps in folders as modules of their own, as v0 of the same release.
        replace=dict.fromkeys(staging, f"v0.{minor}.{patch}"),
        ldflags=f"-X {package}.gitVersion=v{version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor} "
        f"-X {package}.gitTreeState=clean",
    )
    source = module_folder(module=MODULE, version=f"v{version}")
    _make_pause(folder / "bin/pause", source=source)


def _make_pause(output: Path, *, source: Path) -> None:
    define = f"-DVERSION=v{pause_version(source)}"
    run(
        "gcc", "-Os", "-Wall", "-static", define, "-o", str(output), str(source / "build/pause/linux/pause.c")
    )


def pause_version(source: Path) -> str:
    """Version of the pause program in this source of Kubernetes."""
    found = re.search(r"^TAG \?= (\S+)$", (source / "build/pause/Makefile").read_text(), re.MULTILINE)
    assert found is not None, "build/pause/Makefile of Kubernetes has no TAG"
    return found[1]


def agnhost_version(version: str) -> str:
    """Tag that upstream gives the agnhost image of this version of Kubernetes."""
    source = module_folder(module=MODULE, version=f"v{version}")
    return (source / "test/images/agnhost/VERSION").read_text().strip()
