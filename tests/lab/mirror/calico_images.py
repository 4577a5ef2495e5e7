"""Calico's images, by the names and tags that its manifest has."""

import re
import tempfile
from pathlib import Path

from tests.lab.mirror import calico
from tests.lab.mirror.images import Image, publish

_CNI_PLUGINS = ("bandwidth", "bridge", "host-local", "loopback", "portmap", "ptp", "tuning")
"""The reference plugins that upstream's image carries beside Calico's own."""


def make(
    folder: Path,
    *,
    version: str,
    programs: Path,
    cni_plugins: Path,
    network_tools: Path,
) -> None:
    """Publish the images that calico.yaml of this version names."""
    source = calico.source(version)
    manifest = (source / "manifests/calico.yaml").read_text()
    named = sorted(set(re.findall(r"^\s+image: (\S+)$", manifest, re.MULTILINE)))
    with tempfile.TemporaryDirectory(prefix="calico-") as temporary:
        available = {
            "node": _node(source=source, programs=programs, base=network_tools, temporary=Path(temporary)),
            "cni": _cni(programs=programs, plugins=cni_plugins),
            "kube-controllers": _kube_controllers(programs=programs),
        }
        images = {reference: available[reference.rpartition("/")[2].partition(":")[0]] for reference in named}
        publish(images, storage=folder / "registry")


def _node(*, source: Path, programs: Path, base: Path, temporary: Path) -> Image:
    filesystem = source / "node/filesystem"
    # It is started as a program of its own and has no line that says what runs it.
    rc_local = temporary / "rc.local"
    rc_local.write_text("#!/bin/sh\n" + (filesystem / "etc/rc.local").read_text())
    return Image(
        # In Debian /sbin is a link to it.
        folders={"/etc": filesystem / "etc", "/usr/sbin": filesystem / "sbin"},
        files={
            "/etc/rc.local": rc_local,
            "/usr/bin/calico-node": programs / "calico-node",
            "/usr/bin/mountns": programs / "mountns",
        },
        base=base,
        command=["start_runit"],
        # Built without cgo felix has no eBPF and would panic when it cleans up after it.
        environment={"SVDIR": "/etc/service/enabled", "FELIX_DebugSkipCTLBCleanup": "true"},
    )


def _cni(*, programs: Path, plugins: Path) -> Image:
    # The plugin acts as Calico's IPAM by the name that it is called by, but not as the installer.
    own = {"install": "install", "calico": "calico", "calico-ipam": "calico"}
    return Image(
        files={
            **{f"/opt/cni/bin/{name}": programs / program for name, program in own.items()},
            **{f"/opt/cni/bin/{name}": plugins / name for name in _CNI_PLUGINS},
        },
        command=["/opt/cni/bin/install"],
    )


def _kube_controllers(*, programs: Path) -> Image:
    names = ("kube-controllers", "check-status", "wrapper")
    return Image(
        files={f"/usr/bin/{name}": programs / name for name in names},
        empty=("/status/status.json", "/profiles/mem.pprof", "/profiles/cpu.pprof"),
        entrypoint=["/usr/bin/wrapper", "/usr/bin/kube-controllers"],
        user="999",
    )
