"""A real virtual machine, for what a container cannot show: modules that load, swap that comes back, a reboot.

qemu emulates the processor, so that it runs where there is no hardware for virtual machines: slowly, and everywhere.
"""

import base64
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.docker import LabError
from tests.lab.layout import cache_folder
from tests.lab.machine import require
from tests.lab.vm.image import Image, have

ADDRESS = "10.0.2.15"
"""The machine's own address, which nothing outside of it can reach."""

_DEADLINE = 600
"""Seconds that a boot or a command may take. Half a minute is usual for a boot, but not beside a large build."""
# What every x86-64 server has had for years; with AVX, or as `max`, the emulated processor stops Debian's kernel.
_PROCESSOR = "Haswell-noTSX,-avx2,-avx"
_READ_BOOT_ID = "cat /proc/sys/kernel/random/boot_id"


@dataclass(frozen=True)
class VirtualMachine:
    """A running machine, reached by SSH through a port of this one."""

    name: str
    port: int
    folder: Path
    """Where the keys are that were made for this machine alone."""
    log: Path
    """What the machine's serial console shows, and what qemu itself has to say."""
    process: subprocess.Popen[bytes]

    @property
    def data(self) -> dict[str, object]:
        """Host data with which pyinfra reaches it; nothing but the host key that was made for it is accepted."""
        return {
            "ssh_hostname": "127.0.0.1",
            "ssh_port": self.port,
            "ssh_connect_retries": 5,
            "ssh_user": "root",
            "ssh_key": str(self.folder / "id_ed25519"),
            "ssh_known_hosts_file": str(self.folder / "known_hosts"),
            "ssh_strict_host_key_checking": "yes",
            "node_ip": ADDRESS,
        }

    def shell(self, command: str) -> str:
        """Run a command as root and return what it prints."""
        done = self._ssh(command)
        if done.returncode != 0:
            raise LabError(f"{command!r} on {self.name} failed: {(done.stdout + done.stderr).strip()}")
        return done.stdout.strip()

    def reboot(self) -> None:
        """Restart it as its administrator would, and wait until everything has started again."""
        before = self.shell(_READ_BOOT_ID)
        # The connection may end before the answer comes.
        self._ssh("systemctl reboot")
        self.await_boot(after=before)

    def await_boot(self, *, after: str = "") -> None:
        """Wait until systemd has started everything, in another boot than the one with the id `after`."""
        deadline = time.monotonic() + _DEADLINE
        while True:
            answer = self._ssh(f"{_READ_BOOT_ID} && systemctl is-system-running --wait")
            match answer.stdout.split():
                case [boot, "running"] if boot != after:
                    return
                case [boot, "degraded"] if boot != after:
                    failed = self.shell("systemctl list-units --failed --plain --no-legend")
                    raise LabError(f"{self.name} is up but could not start {failed} (console: {self.log})")
            if self.process.poll() is not None or time.monotonic() > deadline:
                last = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
                seen = (answer.stdout + answer.stderr).strip()
                raise LabError(f"{self.name} does not come up: {seen}\nlast lines of {self.log}:\n{last}")
            time.sleep(0.5)

    def _ssh(self, command: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [
                    *("ssh", "-F", "none", "-p", str(self.port), "-i", str(self.folder / "id_ed25519")),
                    *(
                        "-o",
                        f"UserKnownHostsFile={self.folder / 'known_hosts'}",
                        "-o",
                        "StrictHostKeyChecking=yes",
                    ),
                    *("-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=10"),
                    *("root@127.0.0.1", command),
                ],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_DEADLINE,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(
                f"{command!r} on {self.name} did not end within {_DEADLINE} s: {error.stdout!r} {error.stderr!r} "
                f"(console: {self.log})"
            ) from None


@contextmanager
def running(*, name: str, folder: Path) -> Iterator[VirtualMachine]:
    """A new machine for a while; its keys are made in `folder`, and what it writes to its disk is forgotten."""
    for command, package in {
        "qemu-system-x86_64": "qemu-system-x86",
        "setpriv": "util-linux",
        "ssh": "openssh-client",
    }.items():
        require(command=command, package=package)
    image = have()
    port = _free_port()
    credentials = _make_keys(folder=folder, port=port)
    log = cache_folder() / "logs" / f"vm-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(image=image, port=port, credentials=credentials),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    machine = VirtualMachine(name=name, port=port, folder=folder, log=log, process=process)
    try:
        machine.await_boot()
        yield machine
    finally:
        process.kill()
        process.wait()


def _command(*, image: Image, port: int, credentials: str) -> list[str]:
    return [
        # Not even a test run that is killed leaves it behind.
        *("setpriv", "--pdeathsig=KILL", "qemu-system-x86_64"),
        *("-accel", "tcg", "-cpu", _PROCESSOR, "-smp", "2", "-m", "2048"),
        *("-nodefaults", "-display", "none", "-serial", "stdio"),
        *("-kernel", str(image.kernel), "-initrd", str(image.initrd)),
        # An emulated processor that has to share a busy one needs longer than systemd's 90 s to find the swap partition. The
        # kernel's mitigations for this processor empty the emulated TLB at every system call, and protect nothing here.
        *(
            "-append",
            "root=/dev/vda1 rw console=ttyS0 mitigations=off systemd.default_device_timeout_sec=900 "
            f"{credentials}",
        ),
        # Changes go to a file that has no name any more, so the image stays as it was made.
        *("-drive", f"file={image.disk},format=raw,if=virtio,snapshot=on,cache=unsafe"),
        *("-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{port}-:22"),
        *("-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"),
    ]


def _make_keys(*, folder: Path, port: int) -> str:
    """Make the user's key and the machine's; return the kernel's arguments by which systemd puts them in place."""
    for key in ("id_ed25519", "host_key"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", folder / key], check=True
        )
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host_key.pub').read_text()}")
    host_key = _base64((folder / "host_key").read_bytes())
    credentials = {
        "ssh.authorized_keys.root": (folder / "id_ed25519.pub").read_bytes(),
        "tmpfiles.extra": f"f~ /etc/ssh/ssh_host_ed25519_key 0600 root root - {host_key}\n".encode(),
    }
    return " ".join(
        f"systemd.set_credential_binary={name}:{_base64(content)}" for name, content in credentials.items()
    )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
