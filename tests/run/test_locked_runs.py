"""One run at a time, with pyinfra's real command line on this machine."""

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kubeadm_deploys.run import run_lock
from tests.support.lock_files import ANN, BOB, document, release, take
from tests.support.pyinfra_processes import pyinfra_processes

DEPLOY = """
from pyinfra import inventory, state
from pyinfra.api import DeployError, HiddenValue, QuoteString, StringCommand, operation
from pyinfra.operations import server
from kubeadm_deploys.run import run_lock
from kubeadm_deploys.run.locking import check_under_lock, acquire_run_lock
from kubeadm_deploys.cluster.api_leader import ApiLeader
from kubeadm_deploys.cluster.leader import Leader
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.remote.run_parts import part

run_lock.RENEWAL = {renewal}
{settings}
nodes = tuple(
    Node(host=each.name, name=f"cp-{{number}}", ip=f"10.0.0.{{number}}", address="")
    for number, each in enumerate(inventory)
)
part(state, Leader).planned = ApiLeader(leader=nodes[0].host, exists=False)
acquire_run_lock(topology=Topology(control_planes=nodes, workers=()), folder={folder!r})
{before}
server.shell(name="Work", commands=["touch begun.$$; {command}"])
server.shell(name="Work more", commands=["touch done"])
"""

IMPATIENT = "run_lock.PATIENCE = run_lock.PAUSE = 1"

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kubeadm deploys"


@pytest.fixture
def start(tmp_path: Path, folder: Path) -> Iterator[Start]:
    """Return a function that starts pyinfra with a locked deploy whose first command is given.

    ``settings`` are lines before the request for the lock, ``before`` lines between it and the operations.
    """
    numbers = itertools.count()
    with pyinfra_processes(tmp_path) as pyinfra:

        def begin(
            command: str,
            *arguments: str,
            inventory: str = "@local",
            lock: Path = folder,
            renewal: float = run_lock.RENEWAL,
            settings: str = "",
            before: str = "",
        ) -> subprocess.Popen[str]:
            deploy = f"work{next(numbers)}.py"
            (tmp_path / deploy).write_text(
                DEPLOY.format(
                    folder=str(lock), command=command, renewal=renewal, settings=settings, before=before
                )
            )
            return pyinfra(*(arguments or ("-y",)), inventory, deploy)

        yield begin


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def wait_until(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def wait_for_work(tmp_path: Path) -> None:
    wait_until(lambda: list(tmp_path.glob("begun.*")))


def test_a_second_run_stops_at_once_and_the_first_continues(
    start: Start, tmp_path: Path, folder: Path
) -> None:
    first = start("until [ -e go ]; do sleep 0.1; done")
    wait_for_work(tmp_path)
    code, output = ended(start("true"))
    assert (code, output.count("has been running work0.py on this cluster since")) == (1, 1)
    assert "Traceback" not in output
    assert len(list(tmp_path.glob("begun.*"))) == 1
    (tmp_path / "go").touch()
    assert ended(first)[0] == 0
    assert list(folder.iterdir()) == []
    assert ended(start("true"))[0] == 0


def test_a_dry_run_neither_takes_nor_needs_the_lock(start: Start, tmp_path: Path, folder: Path) -> None:
    assert ended(start("true", "--dry"))[0] == 0
    assert not folder.exists()
    take(ANN, folder)
    assert ended(start("true", "--dry"))[0] == 0


def test_the_next_run_need_not_wait_for_the_lock_of_a_killed_run(
    start: Start, tmp_path: Path, folder: Path
) -> None:
    first = start("sleep 60")
    wait_for_work(tmp_path)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert document(folder)["what"] == "work0.py"
    code, output = ended(start("true"))
    assert code == 0, output


def test_a_failed_run_releases_the_lock(start: Start, folder: Path) -> None:
    assert ended(start("exit 3"))[0] == 1
    assert list(folder.iterdir()) == []


def test_an_interrupted_run_releases_the_lock(start: Start, tmp_path: Path, folder: Path) -> None:
    # pyinfra waits for the command after the first Ctrl-C.
    first = start("sleep 3")
    wait_for_work(tmp_path)
    first.send_signal(signal.SIGINT)
    ended(first)
    assert list(folder.iterdir()) == []


def test_the_next_run_need_not_wait_after_two_interrupts(start: Start, tmp_path: Path) -> None:
    # At this point some releases of Python no longer start processes, such as the one that releases the lock.
    first = start("sleep 60")
    wait_for_work(tmp_path)
    for _ in range(2):
        first.send_signal(signal.SIGINT)
        time.sleep(1.5)
    ended(first)
    code, output = ended(start("true"))
    assert code == 0, output


def test_without_the_lock_of_a_majority_no_changes_are_made(
    start: Start, tmp_path: Path, folder: Path
) -> None:
    folder.write_text("")
    code, output = ended(start("true", settings=IMPATIENT))
    assert (code, list(tmp_path.glob("begun.*"))) == (1, [])
    assert output.count("needs the lock of 1 of 1 control planes and got it from 0; cp-0: ") == 1
    assert "kubeadm deploys is not a folder" in output and "no changes were made" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("flag", ["--serial", "--no-wait"])
def test_options_that_bypass_the_lock_are_refused(start: Start, tmp_path: Path, flag: str) -> None:
    code, output = ended(start("true", "-y", flag))
    assert (code, list(tmp_path.glob("begun.*"))) == (1, [])
    assert output.count(f"{flag} cannot be used with this deploy") == 1
    assert "Traceback" not in output and "Beginning operation run" not in output


def test_a_value_that_looks_like_such_an_option_is_accepted(start: Start) -> None:
    code, output = ended(start("true", "-y", "--data", "x_note=--serial", "--data=x_other=--no-wait"))
    assert code == 0, output


CHECKS = """
def note(name):
    open("checks", "a").write(f"{{name}} {{state.is_executing}}\\n")
    {fail}

for name in ("first", "second"):
    check_under_lock(lambda name=name: note(name), key=name)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may chroot")
def test_checks_are_made_once_after_the_lock_is_taken(start: Start, tmp_path: Path, folder: Path) -> None:
    inventory = tmp_path / "inventory.py"
    # pyinfra executes the deploy file for each of them.
    inventory.write_text(f'hosts = ["@local", ("@chroot//", {{"_chdir": {str(tmp_path)!r}}})]\n')
    code, output = ended(start("cat checks > seen", inventory="inventory.py", before=CHECKS.format(fail="")))
    assert code == 0, output
    assert (tmp_path / "seen").read_text() == "first True\nsecond True\n"


def test_a_check_that_refuses_ends_the_run_and_releases_the_lock(
    start: Start, tmp_path: Path, folder: Path
) -> None:
    refuse = 'raise DeployError("w-1 has joined meanwhile; no changes were made")'
    code, output = ended(start("true", before=CHECKS.format(fail=refuse)))
    assert (code, list(tmp_path.glob("begun.*"))) == (1, [])
    assert output.count("w-1 has joined meanwhile") == 1 and "Traceback" not in output
    assert (tmp_path / "checks").read_text() == "first True\n"
    assert list(folder.iterdir()) == []


SECRET = """
@operation()
def given():
    yield StringCommand("cat > document; echo", QuoteString(HiddenValue("s3cret")), ">&2", _stdin="one\\ntwo\\n")

given(name="Give")
"""


def test_stdin_is_passed_on_and_secrets_stay_hidden(start: Start, tmp_path: Path) -> None:
    code, output = ended(start("true", "-y", "-vv", before=SECRET))
    assert code == 0, output
    assert (tmp_path / "document").read_text() == "one\ntwo\n"
    assert "*MASKED*" in output
    assert "s3cret" not in output


def test_the_lock_is_taken_again_after_a_reboot_of_its_control_plane(
    start: Start, tmp_path: Path, folder: Path
) -> None:
    first = start("until [ -e go ]; do sleep 0.1; done", renewal=0.2)
    wait_for_work(tmp_path)
    (folder / "lock").rename(tmp_path / "lost")
    wait_until((folder / "lock").exists)
    (tmp_path / "go").touch()
    assert ended(first)[0] == 0
    assert list(folder.iterdir()) == []


def test_a_run_that_has_lost_its_lock_to_another_stops(start: Start, tmp_path: Path, folder: Path) -> None:
    first = start("until [ -e go ]; do sleep 0.1; done; sleep 2", renewal=0.2)
    wait_for_work(tmp_path)
    assert take(BOB, folder, dead=document(folder)["run"]) is None
    (tmp_path / "go").touch()
    code, output = ended(first)
    assert (code, output.count("bob@desk has been running reset.py on this cluster since")) == (1, 1)
    assert not (tmp_path / "done").exists()
    assert document(folder)["run"] == BOB.run


def test_a_control_plane_locked_by_another_run_runs_no_command_of_this_one(
    start: Start, tmp_path: Path, folder: Path
) -> None:
    first = start("until [ -e go ]; do sleep 0.1; done")
    wait_for_work(tmp_path)
    assert take(BOB, folder, dead=document(folder)["run"]) is None
    (tmp_path / "go").touch()
    code, output = ended(first)
    assert code == 1 and not (tmp_path / "done").exists()
    assert output.count("another run has the lock of this control plane (bob@desk)") >= 1
    assert "@local: not done here" in output and "Traceback" not in output
    assert document(folder)["run"] == BOB.run


def test_a_run_that_cannot_renew_its_lock_in_time_stops(start: Start, tmp_path: Path, folder: Path) -> None:
    code, output = ended(
        start(
            f"mv '{folder}' away; touch '{folder}'; sleep 3",
            settings=f"{IMPATIENT}\nrun_lock.LEASE, run_lock.MARGIN = 4, 2",
        )
    )
    assert code == 1 and list(tmp_path.glob("begun.*")) and not (tmp_path / "done").exists()
    assert output.count("could not renew its lock on 1 of 1 control planes (cp-0: ") == 1
    assert "Traceback" not in output


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may chroot")
def test_a_run_that_one_control_plane_refuses_releases_the_lock_on_all(start: Start, tmp_path: Path) -> None:
    # All hosts are this machine; each has its own working directory, to which the lock's path is relative.
    folders = [tmp_path / name / "lock" for name in ("a", "b", "c")]
    for folder in folders:
        folder.parent.mkdir()
    names = ("@chroot//", "@chroot//.", "@chroot//./.")
    hosts = [(name, {"_chdir": str(folder.parent)}) for name, folder in zip(names, folders, strict=True)]
    (tmp_path / "inventory.py").write_text(f"hosts = {hosts!r}\n")

    take(BOB, folders[2])
    code, output = ended(start("true", inventory="inventory.py", lock=Path("lock")))
    assert (code, output.count("bob@desk has been running reset.py on this cluster since")) == (1, 1)
    assert [list(folder.glob("*")) for folder in folders] == [[], [], [folders[2] / "lock"]]

    release(BOB, folders[2])
    run = start("until [ -e ../go ]; do sleep 0.1; done", inventory="inventory.py", lock=Path("lock"))
    wait_until(lambda: list(tmp_path.glob("*/begun.*")))
    assert len({document(folder)["run"] for folder in folders}) == 1
    (tmp_path / "go").touch()
    assert ended(run)[0] == 0
    assert [list(folder.iterdir()) for folder in folders] == [[], [], []]
