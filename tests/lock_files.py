"""The lock's real command, run on this machine: what a test takes, looks at and gives up."""

import subprocess
from pathlib import Path

from kubeadm_deploys import run_lock
from kubeadm_deploys.facts import lines
from kubeadm_deploys.run_lock import Held, Holder

ANN = Holder(run="a1", who="ann@laptop", what="cluster.py", controller="boot/pid:[1]", process="7 100")
BOB = Holder(run="b2", who="bob@desk", what="reset.py", controller="boot/pid:[2]", process="8 200")


def sh(command: object) -> list[str]:
    """What a command prints."""
    done = subprocess.run(["sh", "-c", str(command)], capture_output=True, text=True)
    return (done.stdout + done.stderr).splitlines()


def take(holder: Holder, folder: Path, *, dead: str = "") -> Held | None:
    """Take a lock; the one that is in the way when another run has it."""
    vote = run_lock.parse_vote(sh(run_lock.take_command(holder, dead=dead, folder=str(folder))))
    assert not vote.problem
    return vote.held


def release(holder: Holder, folder: Path) -> None:
    """Give a lock up."""
    assert sh(run_lock.release_command(holder, folder=str(folder))) == []


def document(folder: Path) -> dict[str, str]:
    """What the lock file says."""
    return lines.parse((folder / "lock").read_text().splitlines())
