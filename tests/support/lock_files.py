"""Run the run lock's real commands on this machine: take, read and release a lock."""

import subprocess
from pathlib import Path

from kubeadm_deploys.remote import lines
from kubeadm_deploys.run import run_lock
from kubeadm_deploys.run.run_lock import Held, Holder

ANN = Holder(run="a1", who="ann@laptop", what="cluster.py", controller="boot/pid:[1]", process="7 100")
BOB = Holder(run="b2", who="bob@desk", what="reset.py", controller="boot/pid:[2]", process="8 200")


def sh(command: object) -> list[str]:
    """Run a command and return the lines that it prints."""
    result = subprocess.run(["sh", "-c", str(command)], capture_output=True, text=True)
    return (result.stdout + result.stderr).splitlines()


def take(holder: Holder, folder: Path, *, dead: str = "") -> Held | None:
    """Take a lock; return the other run's lock if one is held."""
    vote = run_lock.parse_vote(sh(run_lock.take_command(holder, dead=dead, folder=str(folder))))
    assert not vote.problem
    return vote.held


def release(holder: Holder, folder: Path) -> None:
    """Release a lock."""
    assert sh(run_lock.release_command(holder, folder=str(folder))) == []


def document(folder: Path) -> dict[str, str]:
    """Return the content of the lock file."""
    return lines.parse((folder / "lock").read_text().splitlines())
