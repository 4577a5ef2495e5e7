"""A docker daemon for the lab: an existing one, or one that is installed and started here.

python -m tests.lab.daemon start | stop
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.lab.docker import LabError, docker
from tests.lab.layout import LABEL, cache_folder
from tests.lab.machine import install

_DEADLINE = 60
"""Seconds for the daemon to answer or to end."""


def start() -> None:
    """Start a docker daemon unless one already answers, here or at DOCKER_HOST."""
    unreachable = silence()
    if not unreachable:
        return
    if os.environ.get("DOCKER_HOST"):
        raise LabError(f"docker at DOCKER_HOST={os.environ['DOCKER_HOST']} does not answer: {unreachable}")
    if os.geteuid() != 0:
        raise LabError(
            f"docker does not answer ({unreachable}): start it, get access to it, or run this as root"
        )
    if not shutil.which("dockerd") or not shutil.which("docker"):
        _install()
    run = Path("/var/run")
    if Path("/run/systemd/system").is_dir():
        _systemctl_start()
        await_answer()
    elif _is_running(pid_file=run / "docker.pid", program="dockerd"):
        # Debian's package also starts it without systemd, but does not wait until it answers.
        await_answer()
    else:
        remove_stale_pid_files(run=run)
        spawn(command=("dockerd",))


def stop() -> None:
    """Stop the daemon that `start` started, unless it runs other containers; never stop another daemon."""
    record = _record()
    if not record.exists():
        return
    pid, _, started = record.read_text().partition(" ")
    if started and started_at(pid=int(pid)) == started:
        if others := foreign_containers():
            print(f"dockerd keeps running, because it also runs {', '.join(others)}", flush=True)
            return
        os.kill(int(pid), signal.SIGTERM)
        _await_end(pid=int(pid), started=started)
        print("stopped dockerd", flush=True)
    record.unlink()


def silence() -> str:
    """Return why docker does not answer, or an empty string if it does."""
    try:
        docker("info", "--format={{.ServerVersion}}", timeout=20)
    except LabError as error:
        return str(error)
    return ""


def remove_stale_pid_files(*, run: Path) -> None:
    """Remove PID files of a daemon that was killed, alone or with the machine.

    dockerd takes any process that now has such a PID for itself or for its containerd: it then refuses to
    start, or waits forever for an answer.
    """
    files = {"docker.pid": "dockerd", "docker/containerd/containerd.pid": "containerd"}
    for file, program in ((run / name, program) for name, program in files.items()):
        if file.exists() and not _is_running(pid_file=file, program=program):
            print(f"removing {file}, left by a killed {program}", flush=True)
            file.unlink()


def spawn(*, command: Sequence[str]) -> None:
    """Start a daemon that outlives this process, and wait until it answers."""
    log = cache_folder() / "logs" / "dockerd.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", start_new_session=True
        )
    # With the start time, because the PID may be reused.
    _record().write_text(f"{process.pid} {started_at(pid=process.pid)}")
    try:
        await_answer(process=process)
    except LabError as error:
        last = "\n".join(log.read_text().splitlines()[-15:])
        raise LabError(f"{error}\nlast lines of {log}:\n{last}") from None
    print(f"started dockerd (log: {log})", flush=True)


def await_answer(*, process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until docker answers; fail if `process` ends."""
    deadline = time.monotonic() + _DEADLINE
    while unreachable := silence():
        if process and process.poll() is not None:
            _record().unlink(missing_ok=True)
            raise LabError(f"dockerd ended with exit code {process.returncode}")
        if time.monotonic() > deadline:
            raise LabError(f"docker was started but does not answer within {_DEADLINE} s: {unreachable}")
        time.sleep(0.2)


def started_at(*, pid: int) -> str:
    """Return when a process was started, in clock ticks since boot; an empty string if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return ""
    # The program's name is in parentheses and may itself contain spaces and parentheses. Z is a zombie.
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def foreign_containers() -> list[str]:
    """Return the names of running containers that do not belong to the lab."""
    listed = docker("ps", f'--format={{{{.Names}}}} {{{{.Label "{LABEL}"}}}}')
    return [line.strip() for line in listed.splitlines() if len(line.split()) == 1]


def _install() -> None:
    if not shutil.which("apt-get"):
        raise LabError("docker is not installed: install it (see https://docs.docker.com/engine/install)")
    # Since Debian 13 the client is in a separate package.
    install("docker.io", where_known=("docker-cli",))


def _systemctl_start() -> None:
    done = subprocess.run(("systemctl", "start", "docker"), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"`systemctl start docker` failed: {done.stderr.strip()}")


def _await_end(*, pid: int, started: str) -> None:
    deadline = time.monotonic() + _DEADLINE
    while started_at(pid=pid) == started:
        if time.monotonic() > deadline:
            raise LabError(f"dockerd (PID {pid}) did not end within {_DEADLINE} s after SIGTERM")
        time.sleep(0.2)


def _is_running(*, pid_file: Path, program: str) -> bool:
    try:
        return Path(f"/proc/{pid_file.read_text().strip()}/comm").read_text().strip() == program
    except FileNotFoundError:
        return False


def _record() -> Path:
    """Return the file that records the daemon that `start` started."""
    return cache_folder() / "dockerd.pid"


def main() -> None:
    """Run the command line; errors that the user can fix are printed as one sentence."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab.daemon", description="A docker daemon for the lab."
    )
    parser.add_argument("command", choices=("start", "stop"))
    try:
        start() if parser.parse_args().command == "start" else stop()
    except LabError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
