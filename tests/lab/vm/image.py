"""The disk of the lab's virtual machine: Debian with its own kernel and with swap, made once.

It is laid out as an installer does it, a partition for the system and one for swap, so that systemd's generators find
what they find on a server.
"""

import fcntl
import hashlib
import io
import shutil
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.docker import LabError
from tests.lab.layout import cache_folder
from tests.lab.machine import SEARCH_PATH, debian_sources, require
from tests.lab.mirror.commands import run

_CODENAME = "trixie"
_PACKAGES = (
    *("linux-image-cloud-amd64", "systemd-sysv", "udev", "dbus", "kmod", "procps"),
    *("iproute2", "openssh-server", "ca-certificates", "curl"),
)
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*")
_TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "fakeroot": "fakeroot",
    "sfdisk": "fdisk",
    "mkfs.ext4": "e2fsprogs",
    "mkswap": "util-linux",
}

_FILES = Path(__file__).parent / "files"
_SWAP_UUID = "5e1f0a6c-7d0e-4b0e-9c38-2f6d1f3f9a11"
_FSTAB = f"""\
/dev/vda1 / ext4 errors=remount-ro 0 1
UUID={_SWAP_UUID} none swap sw 0 0
"""
_SWAP_UNIT = r"swap\x2dfile.swap"
"""What systemd calls the unit of /swap-file."""
_MIB = 1 << 20
_SYSTEM, _SWAP = range(1, 2561), range(2561, 2689)
"""Where the partitions are on the disk, in MiB."""
_SWAP_FILE = 16 * _MIB

# Debian's initial RAM disk has every driver that a machine may need to find its disk, and is unpacked slowly here.
_INITRD = """\
mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"
echo MODULES=list > "$1/etc/initramfs-tools/conf.d/lab"
printf 'virtio_pci\\nvirtio_blk\\next4\\n' > "$1/usr/share/initramfs-tools/modules.d/lab"
"""
_UNPACK = """\
set -e
printf %s "$3" | sfdisk --quiet --label=gpt disk
mkdir root
tar --extract --file root.tar --directory root --exclude './dev/*'
cp root/boot/vmlinuz-* kernel
cp root/boot/initrd.img-* initrd
mkfs.ext4 -q -d root -E offset="$1" disk "$2"
"""


@dataclass(frozen=True)
class Image:
    """What a virtual machine is started from."""

    folder: Path

    @property
    def disk(self) -> Path:
        """All of the disk; raw, and mostly holes."""
        return self.folder / "disk"

    @property
    def kernel(self) -> Path:
        return self.folder / "kernel"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd"


def have() -> Image:
    """The image, made if it is not there."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for file in sorted(_FILES.iterdir()):
        digest.update(f"{file.name}\0".encode() + file.read_bytes())
    image = Image(folder=cache_folder() / "vm" / digest.hexdigest()[:16])
    with _exclusive(image.folder.parent):
        if not image.folder.is_dir():
            started = time.monotonic()
            print("building the virtual machine's image, about a minute", flush=True)
            _make(image.folder)
            print(f"built the virtual machine's image in {time.monotonic() - started:.0f} s", flush=True)
    return image


def _make(folder: Path) -> None:
    """Make it beside its place, so that an interrupted build leaves nothing that looks complete."""
    for command, package in _TOOLS.items():
        require(command=command, package=package)
    for old in folder.parent.iterdir():
        if old.is_dir():
            shutil.rmtree(old)
    partial = folder.with_name(f"{folder.name}.partial")
    partial.mkdir()
    _bootstrap(archive=partial / "root.tar")
    _add_files(archive=partial / "root.tar")
    _make_disk(folder=partial)
    shutil.rmtree(partial / "root")
    (partial / "root.tar").unlink()
    partial.rename(folder)


def _bootstrap(*, archive: Path) -> None:
    sources = debian_sources(codename=_CODENAME)
    if not sources:
        raise LabError(
            "the virtual machine is made of Debian packages and this machine's apt knows no Debian source: "
            "run this on a Debian machine (after `apt-get update`)"
        )
    _run(
        *("mmdebstrap", "--variant=minbase", "--quiet", f"--include={','.join(_PACKAGES)}"),
        *(f"--dpkgopt=path-exclude={path}" for path in _LEFT_OUT),
        # Syncing to disk after each package would only slow down a throw-away machine.
        "--dpkgopt=force-unsafe-io",
        f"--essential-hook={_INITRD}",
        '--customize-hook=chroot "$1" systemctl enable systemd-networkd.service',
        # Each machine gets a host key of its own when it is started.
        '--customize-hook=rm "$1"/etc/ssh/ssh_host_*',
        *(_CODENAME, str(archive)),
        *(source.line() for source in sources),
    )


def _add_files(*, archive: Path) -> None:
    """Put the machine's own files behind what mmdebstrap packed: of two with one name the last is unpacked."""
    files = {
        "etc/fstab": _FSTAB.encode(),
        "etc/systemd/network/wired.network": (_FILES / "wired.network").read_bytes(),
        f"etc/systemd/system/{_SWAP_UNIT}": (_FILES / "swap-file.swap").read_bytes(),
        "etc/hostname": b"vm\n",
        "etc/hosts": b"127.0.0.1 localhost\n127.0.1.1 vm\n",
        # The name server that qemu has in every user-mode network.
        "etc/resolv.conf": b"nameserver 10.0.2.3\n",
        "swap-file": _swap_file(folder=archive.parent),
    }
    with tarfile.open(archive, "a") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size, entry.mode = len(content), 0o600 if name == "swap-file" else 0o644
            tar.addfile(entry, io.BytesIO(content))
        enabled = tarfile.TarInfo(f"./etc/systemd/system/multi-user.target.wants/{_SWAP_UNIT}")
        enabled.type, enabled.linkname = tarfile.SYMTYPE, f"/etc/systemd/system/{_SWAP_UNIT}"
        tar.addfile(enabled)


def _swap_file(*, folder: Path) -> bytes:
    path = folder / "swap-file"
    # Zeros would become a hole in the file, and the kernel refuses to swap to one.
    path.write_bytes(b"\xff" * _SWAP_FILE)
    path.chmod(0o600)
    _run("mkswap", str(path))
    content = path.read_bytes()
    path.unlink()
    return content


def _make_disk(*, folder: Path) -> None:
    """Partition the disk and fill both partitions, without mounting anything."""
    disk = folder / "disk"
    with disk.open("wb") as file:
        file.truncate((_SWAP.stop + 1) * _MIB)
    table = "".join(
        f"start={part.start}MiB, size={len(part)}MiB, type={kind}\n"
        for part, kind in ((_SYSTEM, "linux"), (_SWAP, "swap"))
    )
    # Under fakeroot the files keep their owners, whoever makes the image.
    _run(
        *("fakeroot", "sh", "-c", _UNPACK, "sh", str(_SYSTEM.start * _MIB), f"{len(_SYSTEM)}m", table),
        cwd=folder,
    )
    swap = folder / "swap"
    with swap.open("wb") as file:
        file.truncate(len(_SWAP) * _MIB)
    _run("mkswap", f"--uuid={_SWAP_UUID}", str(swap))
    # Only the first page of a swap partition holds anything.
    with disk.open("r+b") as file:
        file.seek(_SWAP.start * _MIB)
        file.write(swap.read_bytes()[:4096])
    swap.unlink()


def _run(*command: str, cwd: Path | None = None) -> None:
    run(*command, cwd=cwd, env={"PATH": SEARCH_PATH})


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Keep two builds from working at the same time."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
