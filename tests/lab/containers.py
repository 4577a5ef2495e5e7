"""The containers that docker hosts are."""

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

# Seconds that systemd may take. Two are enough, but not while something big is being built beside it.
_BOOT_TIMEOUT = 120

# --privileged would do, but it asks for every capability, and a docker daemon that lacks one itself then refuses.
# Left out on purpose: SYS_MODULE and SYS_TIME, because modules and clock are the machine's.
_CAPABILITIES = (
    *("AUDIT_CONTROL", "AUDIT_READ", "BLOCK_SUSPEND", "DAC_READ_SEARCH", "IPC_LOCK", "IPC_OWNER", "LEASE"),
    *("LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "NET_ADMIN", "NET_BROADCAST", "SYS_ADMIN", "SYS_BOOT"),
    *("SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_TTY_CONFIG", "SYSLOG", "WAKE_ALARM"),
)

# containerd's overlay file system does not work on top of docker's.
_VOLUMES = ("/var/lib/containerd", "/var/lib/etcd", "/var/lib/kubelet")


def create(*, host: Host, image: str, machine: Machine) -> None:
    """Make and start a host's container."""
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
    """Make and start a container that is a machine of its own, with `files` in it by their paths.

    `owner` are those of the labels that the volumes have too, so that volumes of a container that somebody removed
    without them are found again.
    """
    volume_labels = ",".join(f"volume-label={key}={value}" for key, value in owner.items())
    docker(
        # The terminal is for what systemd has to say: without it `docker logs` shows nothing.
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
    """Write files, which only root may read, into a container that may not have started yet."""
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
    """Wait until systemd has started everything; name the units that it could not start."""
    deadline = time.monotonic() + _BOOT_TIMEOUT
    while (state := _system_state(host)) not in ("running", "degraded"):
        if time.monotonic() > deadline:
            raise LabError(
                f"{host.name}: systemd is not up after {_BOOT_TIMEOUT} s, last seen: {state}\n{_last_words(host)}"
            )
        time.sleep(0.1)
    if state == "degraded":
        failed = docker("exec", host.name, "systemctl", "list-units", "--failed", "--plain", "--no-legend")
        units = " ".join(line.split()[0] for line in failed.splitlines())
        print(f"{host.name}: systemd is up but could not start {units}", file=sys.stderr)


def kill(*names: str) -> None:
    """Take the power from running containers: afterwards nothing in them runs, whatever they were doing."""
    _end("kill", names)


def restart(name: str) -> None:
    """Shut a container's system down, cut its power if that takes too long, and start it again."""
    _end("restart", [name])
    # Only of use where docker could not end it itself.
    docker("start", name)


def remove(*, labels: Mapping[str, str]) -> None:
    """Remove the containers with these labels, and volumes with them."""
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
    """Thaw what is frozen in containers that are being killed; whether anything was.

    runc freezes the group of a container that it makes, for a moment. When it is killed just then, nobody thaws the
    group, and on cgroup v1 a frozen process does not die: docker gives up after twelve seconds.
    """
    frozen = [file for name in containers for file in _freezers(name) if file.read_text().strip() != "THAWED"]
    for file in frozen:
        file.write_text("THAWED")
    return bool(frozen)


def _freezers(container: str) -> Iterator[Path]:
    """The freezer states of a container's groups; none on cgroup v2, and none of a container that does not run."""
    process = docker("container", "inspect", "--format={{.State.Pid}}", container).strip()
    groups = Path("/proc", process, "cgroup")
    for line in groups.read_text().splitlines() if groups.exists() else ():
        _, controllers, group = line.split(":", 2)
        if controllers == "freezer":
            yield from Path("/sys/fs/cgroup/freezer", group.lstrip("/")).rglob("freezer.state")


def _system_state(host: Host) -> str:
    """What systemd says about itself, or why it cannot be asked."""
    try:
        return docker("exec", host.name, "systemctl", "show", "--property=SystemState", "--value").strip()
    except LabError as error:
        ended = docker(
            "container", "inspect", "--format={{.State.Running}} {{.State.ExitCode}}", host.name
        ).split()
        if ended[0] == "false":
            raise LabError(
                f"{host.name} ended at once with exit code {ended[1]}, "
                f"its last words (`docker logs {host.name}`):\n{_last_words(host)}"
            ) from None
        return str(error)


def _last_words(host: Host) -> str:
    return docker("logs", "--tail=5", host.name).strip()
