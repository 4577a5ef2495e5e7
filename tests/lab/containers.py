"""The containers that act as docker hosts."""

import io
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.lab import layout
from tests.lab.docker import LabError, docker, labelled
from tests.lab.host import CLUSTER_LABEL, Host
from tests.lab.layout import LABEL
from tests.lab.probe import Machine

# Seconds for systemd to start. It usually takes two, but longer while a large build is running.
_BOOT_TIMEOUT = 120

# Not --privileged: it requests every capability, and a docker daemon that lacks one itself refuses that.
# SYS_MODULE and SYS_TIME are omitted, because modules and clock belong to the machine.
_CAPABILITIES = (
    *("AUDIT_CONTROL", "AUDIT_READ", "BLOCK_SUSPEND", "DAC_READ_SEARCH", "IPC_LOCK", "IPC_OWNER", "LEASE"),
    *("LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "NET_ADMIN", "NET_BROADCAST", "SYS_ADMIN", "SYS_BOOT"),
    *("SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_TTY_CONFIG", "SYSLOG", "WAKE_ALARM"),
)

# containerd's overlay file system does not work on top of docker's.
_VOLUMES = ("/var/lib/containerd", "/var/lib/etcd", "/var/lib/kubelet")


def create(*, host: Host, image: str, machine: Machine) -> None:
    """Create and start a host's container."""
    launch(
        name=host.name,
        hostname=host.name,
        address=host.address,
        labels=host.labels,
        owner={LABEL: host.labels[LABEL], CLUSTER_LABEL: host.cluster},
        image=image,
        machine=machine,
    )


def launch(
    *,
    name: str,
    hostname: str,
    address: str,
    labels: Mapping[str, str],
    owner: Mapping[str, str],
    image: str,
    machine: Machine,
    files: Mapping[str, str] | None = None,
) -> None:
    """Create and start a container that acts as a machine; `files` maps paths in it to contents.

    The volumes get the labels `owner`, so that they can be found if the container is removed without them.
    """
    volume_labels = ",".join(f"volume-label={key}={value}" for key, value in owner.items())
    docker(
        # systemd prints to the terminal: without it `docker logs` shows nothing.
        *("create", "--tty", f"--name={name}", f"--hostname={hostname}"),
        *(f"--network={layout.NETWORK}", f"--ip={address}", "--cgroupns=private"),
        *(f"--cap-add={capability}" for capability in _CAPABILITIES),
        *(f"--security-opt={option}=unconfined" for option in ("seccomp", "apparmor", "systempaths")),
        *("--device-cgroup-rule=a *:* rwm", "--tmpfs=/run", "--tmpfs=/tmp:exec"),
        *(f"--mount=type=volume,destination={path},{volume_labels}" for path in _VOLUMES),
        *(f"--label={key}={value}" for key, value in labels.items()),
        *(image, *machine.nameservers),
    )
    put(name=name, files=files or {})
    docker("start", name)


def put(*, name: str, files: Mapping[str, str]) -> None:
    """Write files that only root can read into a container, which need not be running."""
    if not files:
        return
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, text in files.items():
            content = text.encode()
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(content), 0o600
            tar.addfile(entry, io.BytesIO(content))
    docker("cp", "-", f"{name}:/", input=archive.getvalue())


def await_boot(host: Host) -> None:
    """Wait until systemd has started all units; print the names of those that failed."""
    deadline = time.monotonic() + _BOOT_TIMEOUT
    while (state := _system_state(host)) not in ("running", "degraded"):
        if time.monotonic() > deadline:
            raise LabError(
                f"{host.name}: systemd has not started after {_BOOT_TIMEOUT} s: {state}\n{_log_end(host)}"
            )
        time.sleep(0.1)
    if state == "degraded":
        failed = docker("exec", host.name, "systemctl", "list-units", "--failed", "--plain", "--no-legend")
        units = " ".join(line.split()[0] for line in failed.splitlines())
        print(f"{host.name}: systemd has started, but these units failed: {units}", file=sys.stderr)


def kill(*names: str) -> None:
    """Kill running containers, like a power cut."""
    _end("kill", names)


def restart(name: str) -> None:
    """Restart a container: shut its system down, and kill it if that takes too long."""
    _end("restart", [name])
    # Needed only if docker failed to stop the container and `_end` had to thaw it.
    docker("start", name)


def remove(*, labels: Mapping[str, str]) -> None:
    """Remove the containers and volumes with these labels."""
    if containers := labelled("ps", "--all", "--quiet", labels=labels):
        try:
            docker("rm", "--force", "--volumes", *containers)
        except LabError:
            containers = labelled("ps", "--all", "--quiet", labels=labels)
            if not _thaw(containers):
                raise
            docker("rm", "--force", "--volumes", *containers)
    if volumes := labelled("volume", "ls", "--quiet", labels=labels):
        docker("volume", "rm", *volumes)


def _end(command: str, containers: Sequence[str]) -> None:
    try:
        docker(command, *containers)
    except LabError:
        if not _thaw(containers):
            raise
        docker("wait", *containers)


def _thaw(containers: Sequence[str]) -> bool:
    """Thaw frozen cgroups in containers that are being killed; return whether any was frozen.

    runc freezes the cgroup of a container briefly while it creates it. If runc is killed at that moment, the
    cgroup stays frozen, and on cgroup v1 a frozen process does not die: docker gives up after twelve seconds.
    """
    frozen = [file for name in containers for file in _freezers(name) if file.read_text().strip() != "THAWED"]
    for file in frozen:
        file.write_text("THAWED")
    return bool(frozen)


def _freezers(container: str) -> Iterator[Path]:
    """Yield the freezer state files of a running container's cgroups; none on cgroup v2."""
    process = docker("container", "inspect", "--format={{.State.Pid}}", container).strip()
    groups = Path("/proc", process, "cgroup")
    for line in groups.read_text().splitlines() if groups.exists() else ():
        _, controllers, group = line.split(":", 2)
        if controllers == "freezer":
            yield from Path("/sys/fs/cgroup/freezer", group.lstrip("/")).rglob("freezer.state")


def _system_state(host: Host) -> str:
    """Return systemd's system state, or the error if it cannot be read."""
    try:
        return docker("exec", host.name, "systemctl", "show", "--property=SystemState", "--value").strip()
    except LabError as error:
        ended = docker(
            "container", "inspect", "--format={{.State.Running}} {{.State.ExitCode}}", host.name
        ).split()
        if ended[0] == "false":
            raise LabError(
                f"{host.name} exited with code {ended[1]}, "
                f"end of its log (`docker logs {host.name}`):\n{_log_end(host)}"
            ) from None
        return str(error)


def _log_end(host: Host) -> str:
    return docker("logs", "--tail=5", host.name).strip()
