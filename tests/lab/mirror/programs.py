"""The programs beside Kubernetes' own that a control plane and its packages need."""

from pathlib import Path

from tests.lab.mirror.commands import run
from tests.lab.mirror.golang import BUILD, ENVIRONMENT, STRIPPED, folder_replacements, go_build


def make_etcd(folder: Path, *, version: str) -> None:
    """Build etcd, etcdctl and etcdutl, each a module of its own."""
    for name in ("server", "etcdctl", "etcdutl"):
        module = f"go.etcd.io/etcd/{name}/v3"
        siblings = folder_replacements(module=module, version=f"v{version}")
        go_build(
            module=module,
            version=f"v{version}",
            packages=["."],
            output=folder / "bin",
            replace=dict.fromkeys(siblings, f"v{version}"),
        )
    # The module's last path element names the program, and upstream's own build renames it as well.
    (folder / "bin/server").rename(folder / "bin/etcd")


def make_coredns(folder: Path, *, version: str) -> None:
    """Build CoreDNS with upstream's default plugins."""
    go_build(
        module="github.com/coredns/coredns", version=f"v{version}", packages=["."], output=folder / "bin"
    )


def make_crictl(folder: Path, *, version: str) -> None:
    """Build crictl, the content of the package cri-tools."""
    go_build(
        module="sigs.k8s.io/cri-tools",
        version=f"v{version}",
        packages=["cmd/crictl"],
        output=folder / "bin",
        ldflags=f"-X sigs.k8s.io/cri-tools/pkg/version.Version=v{version}",
    )


def make_crane(folder: Path, *, version: str) -> None:
    """Build crane, which makes the images."""
    module = "github.com/google/go-containerregistry"
    go_build(module=module, version=f"v{version}", packages=["cmd/crane"], output=folder / "bin")


def make_server(folder: Path) -> None:
    """Build the mirror's own server: see server/main.go."""
    source = Path(__file__).parent / "server"
    run(*BUILD, STRIPPED, "-o", f"{folder}/bin/", ".", cwd=source, env=ENVIRONMENT)
