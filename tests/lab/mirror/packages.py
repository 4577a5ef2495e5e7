"""The Debian packages of pkgs.k8s.io: contents and dependencies as kubernetes/release (cmd/krel/templates) has them."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.mirror import apt
from tests.lab.mirror.commands import run

_UNITS = "usr/lib/systemd/system"

_KUBELET_UNIT = """\
[Unit]
Description=kubelet: The Kubernetes Node Agent
Documentation=https://kubernetes.io/docs/
Wants=network-online.target
After=network-online.target

[Service]
ExecStart=/usr/bin/kubelet
Restart=always
StartLimitInterval=0
RestartSec=10

[Install]
WantedBy=multi-user.target
"""

_KUBEADM_DROPIN = """\
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
"""

# Upstream's package enables the kubelet and leaves its start to kubeadm.
_KUBELET_SCRIPTS = {
    "postinst": '[ "$1" != configure ] || ! command -v systemctl >/dev/null || systemctl preset kubelet.service\n',
    "prerm": '[ "$1" != remove ] || ! [ -d /run/systemd/system ] || systemctl disable --now kubelet.service\n',
    "postrm": "! [ -d /run/systemd/system ] || systemctl daemon-reload\n",
}


@dataclass(frozen=True)
class Package:
    """What goes into one package."""

    name: str
    version: str
    summary: str
    section: str
    depends: str = ""
    recommends: str = ""
    programs: Mapping[str, Path] = field(default_factory=dict)
    """Path in the package to program."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Path in the package to content."""
    scripts: Mapping[str, str] = field(default_factory=dict)
    conffiles: str = ""


def make(
    folder: Path,
    *,
    version: str,
    kubernetes: Path,
    crictl: tuple[str, Path],
    cni_plugins: tuple[str, Path],
) -> None:
    """Publish the packages of Kubernetes `version` as the apt repository of its minor.

    `kubernetes` is the folder of its programs; crictl and the CNI plugins come as version and folder.
    """
    minor = ".".join(version.split(".")[:2])
    contents = [
        *_node_packages(version=version, programs=kubernetes),
        _cri_tools(version=crictl[0], programs=crictl[1]),
        _kubernetes_cni(version=cni_plugins[0], programs=cni_plugins[1]),
    ]
    with tempfile.TemporaryDirectory(prefix="debs-") as packages:
        built = [_build(package, folder=Path(packages)) for package in contents]
        apt.publish(folder=folder / f"www/pkgs.k8s.io/core:/stable:/v{minor}/deb", packages=built)


def _node_packages(*, version: str, programs: Path) -> list[Package]:
    revision = f"{version}-1.1"
    return [
        Package(
            name="kubeadm",
            version=revision,
            summary="Command-line utility for administering a Kubernetes cluster",
            section="admin",
            # Since 1.32 kubeadm talks to the runtime itself, and its package no longer depends on cri-tools.
            programs={"usr/bin/kubeadm": programs / "kubeadm"},
            texts={f"{_UNITS}/kubelet.service.d/10-kubeadm.conf": _KUBEADM_DROPIN},
        ),
        Package(
            name="kubectl",
            version=revision,
            summary="Command-line utility for interacting with a Kubernetes cluster",
            section="admin",
            programs={"usr/bin/kubectl": programs / "kubectl"},
        ),
        Package(
            name="kubelet",
            version=revision,
            summary="Node agent for Kubernetes clusters",
            section="net",
            depends="kubernetes-cni (>= 1.2.0), mount, util-linux",
            recommends="iptables (>= 1.8.4)",
            programs={"usr/bin/kubelet": programs / "kubelet"},
            texts={
                f"{_UNITS}/kubelet.service": _KUBELET_UNIT,
                "etc/default/kubelet": "KUBELET_EXTRA_ARGS=\n",
                "etc/kubernetes/manifests/.kubelet-keep": "",
                "var/lib/kubelet/.kubelet-keep": "",
            },
            scripts=_KUBELET_SCRIPTS,
            conffiles="/etc/default/kubelet\n",
        ),
    ]


def _cri_tools(*, version: str, programs: Path) -> Package:
    return Package(
        name="cri-tools",
        version=f"{version}-1.1",
        summary="Command-line utility for interacting with a container runtime",
        section="admin",
        programs={"usr/bin/crictl": programs / "crictl"},
    )


def _kubernetes_cni(*, version: str, programs: Path) -> Package:
    return Package(
        name="kubernetes-cni",
        version=f"{version}-1.1",
        summary="Binaries required to provision kubernetes container networking",
        section="net",
        programs={f"opt/cni/bin/{path.name}": path for path in programs.iterdir()},
        texts={"etc/cni/net.d/.kubernetes-cni-keep": ""},
    )


def _build(package: Package, *, folder: Path) -> Path:
    root = folder / package.name
    for place, program in package.programs.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(program, root / place)
        (root / place).chmod(0o755)
    for place, text in package.texts.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text)
        (root / place).chmod(0o644)
    control = root / "DEBIAN"
    control.mkdir(exist_ok=True)
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    (control / "control").write_text(_control(package, size=size))
    if package.conffiles:
        (control / "conffiles").write_text(package.conffiles)
    for name, script in package.scripts.items():
        (control / name).write_text(f"#!/bin/sh\nset -e\n{script}")
        (control / name).chmod(0o755)
    for path in (root, *root.rglob("*")):
        if path.is_dir():
            # Folders have the mode that they have on a machine, whatever the umask is here.
            path.chmod(0o755)
    archive = folder / f"{package.name}_{package.version}_amd64.deb"
    # xz takes a minute for the programs of Kubernetes. Every host unpacks them, which zstd makes cheap.
    run("dpkg-deb", "--root-owner-group", "-Zzstd", "-z1", "--build", str(root), str(archive))
    return archive


def _control(package: Package, *, size: int) -> str:
    fields = {
        "Package": package.name,
        "Version": package.version,
        "Architecture": "amd64",
        "Maintainer": "Kubernetes Authors <dev@kubernetes.io>",
        "Section": package.section,
        "Priority": "optional",
        "Homepage": "https://kubernetes.io",
        "Installed-Size": str(-(-size // 1024)),
        "Depends": package.depends,
        "Recommends": package.recommends,
        "Description": package.summary,
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)
