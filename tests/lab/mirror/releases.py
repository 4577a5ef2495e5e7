"""Release files that upstream publishes on GitHub, at the same host and path."""

import shutil
from pathlib import Path

from tests.lab.mirror.commands import run
from tests.lab.mirror.golang import go_build, module_folder

_CONTAINERD = "github.com/containerd/containerd/v2"
_PLUGINS = "github.com/containernetworking/plugins"
_RUNC = "github.com/opencontainers/runc"


def make_containerd(folder: Path, *, version: str) -> None:
    """The tarball and the systemd unit, which upstream keeps in its repository and not in the tarball."""
    go_build(
        module=_CONTAINERD,
        version=f"v{version}",
        packages=["cmd/containerd", "cmd/containerd-shim-runc-v2", "cmd/ctr", "cmd/containerd-stress"],
        output=folder / "bin",
        tags="urfave_cli_no_docs no_btrfs",
        # Without it the version is reported as `+unknown`.
        ldflags=f"-X {_CONTAINERD}/version.Version=v{version} -X {_CONTAINERD}/version.Package={_CONTAINERD}",
    )
    release = folder / f"www/github.com/containerd/containerd/releases/download/v{version}"
    pack(release / f"containerd-{version}-linux-amd64.tar.gz", folder=folder, names=["bin"])
    raw = folder / f"www/raw.githubusercontent.com/containerd/containerd/v{version}"
    raw.mkdir(parents=True)
    source = module_folder(module=_CONTAINERD, version=f"v{version}")
    shutil.copyfile(source / "containerd.service", raw / "containerd.service")


def make_runc(folder: Path, *, version: str) -> None:
    """The single static program; libseccomp is linked in, as in upstream's release."""
    release = folder / f"www/github.com/opencontainers/runc/releases/download/v{version}"
    go_build(
        module=_RUNC,
        version=f"v{version}",
        packages=["."],
        output=release,
        tags="seccomp urfave_cli_no_docs netgo osusergo",
        ldflags="-linkmode external -extldflags -static-pie",
        cgo=True,
        buildmode="pie",
    )
    (release / "runc").rename(release / "runc.amd64")


def make_cni_plugins(folder: Path, *, version: str) -> None:
    """The tarball of the reference plugins."""
    source = module_folder(module=_PLUGINS, version=f"v{version}")
    kinds = ("main", "meta", "ipam")
    plugins = [path for kind in kinds for path in (source / "plugins" / kind).iterdir() if path.is_dir()]
    go_build(
        module=_PLUGINS,
        version=f"v{version}",
        packages=[str(path.relative_to(source)) for path in plugins if path.name != "windows"],
        output=folder / "bin",
        ldflags=f"-X {_PLUGINS}/pkg/utils/buildversion.BuildVersion=v{version}",
    )
    for document in ("LICENSE", "README.md"):
        shutil.copyfile(source / document, folder / "bin" / document)
    release = folder / f"www/github.com/containernetworking/plugins/releases/download/v{version}"
    pack(release / f"cni-plugins-linux-amd64-v{version}.tgz", folder=folder / "bin", names=["."])


def pack(archive: Path, *, folder: Path, names: list[str]) -> None:
    """Pack `names` of `folder`, the same bytes from the same files."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    owner = ("--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "--sort=name")
    # Without a name and a time in its header gzip gives the same bytes again.
    run("tar", *owner, "--use-compress-program=gzip -n", "-cf", str(archive), "-C", str(folder), *names)
