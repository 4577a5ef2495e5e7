"""One run at a time: the lock's real command on this machine, and pyinfra's real command line against @local."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest

from kubeadm_deploys import run_lock
from kubeadm_deploys.facts import lines
from kubeadm_deploys.run_lock import Held, Holder

ANN = Holder(run="a1", who="ann@laptop", what="cluster.py", controller="boot/pid:[1]", process="7 100")
BOB = Holder(run="b2", who="bob@desk", what="reset.py", controller="boot/pid:[2]", process="8 200")
NOW = datetime(2026, 11, 25, 14, 3, 5)


def sh(command: object) -> list[str]:
    done = subprocess.run(["sh", "-c", str(command)], capture_output=True, text=True)
    return (done.stdout + done.stderr).splitlines()


def take(holder: Holder, folder: Path, *, dead: str = "") -> Held | None:
    return run_lock.read_answer(sh(run_lock.take_command(holder, dead=dead, folder=str(folder))))


def release(holder: Holder, folder: Path) -> None:
    assert sh(run_lock.release_command(holder, folder=str(folder))) == []


def document(folder: Path) -> dict[str, str]:
    return lines.parse((folder / "lock").read_text().splitlines())


def change(folder: Path, **seconds: int) -> None:
    """Move the lock's times."""
    text = "".join(
        f"{key} {int(value) + seconds[key] if key in seconds else value}\n"
        for key, value in document(folder).items()
    )
    (folder / "lock").write_text(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kubeadm deploys"


def test_the_second_run_is_told_who_has_the_lock(folder: Path) -> None:
    assert take(ANN, folder) is None
    held = take(BOB, folder)
    assert held is not None
    assert held.holder == ANN
    assert 0 <= held.age <= 2
    assert run_lock.LEASE - 2 <= held.remaining <= run_lock.LEASE
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_a_released_lock_is_free_and_only_its_holder_releases_it(folder: Path) -> None:
    take(ANN, folder)
    release(BOB, folder)
    assert take(BOB, folder) is not None
    release(ANN, folder)
    assert list(folder.iterdir()) == []
    assert take(BOB, folder) is None


def test_releasing_what_was_never_taken_makes_nothing(folder: Path) -> None:
    release(ANN, folder)
    assert not folder.exists()


def test_a_renewal_keeps_the_start(folder: Path) -> None:
    take(ANN, folder)
    change(folder, start=-100, until=-100)
    assert take(ANN, folder) is None
    held = take(BOB, folder)
    assert held is not None
    assert (held.age >= 100, held.remaining > run_lock.LEASE - 3) == (True, True)


def test_a_lock_that_is_not_renewed_expires(folder: Path) -> None:
    take(ANN, folder)
    change(folder, until=-run_lock.LEASE - 1)
    assert take(BOB, folder) is None
    assert document(folder)["who"] == BOB.who


def test_a_lock_from_before_the_machines_uptime_began_anew_has_expired(folder: Path) -> None:
    take(ANN, folder)
    change(folder, start=1000, until=1000)
    assert take(BOB, folder) is None


@pytest.mark.parametrize("text", ["", "run a1\n", "run a1\nuntil soon\n", "\0\0\0"])
def test_a_broken_lock_file_holds_nothing(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "lock").write_text(text)
    assert take(BOB, folder) is None
    assert document(folder)["run"] == BOB.run


def test_a_dead_run_loses_its_lock_and_no_other_does(folder: Path) -> None:
    take(ANN, folder)
    assert take(BOB, folder, dead="c3") is not None
    assert take(BOB, folder, dead=ANN.run) is None
    assert take(ANN, folder) is not None


def test_of_many_runs_that_begin_at_once_one_gets_the_lock(folder: Path) -> None:
    runs = [Holder(run=str(number), who=f"{number}@laptop", what="cluster.py") for number in range(12)]
    with ThreadPoolExecutor(len(runs)) as pool:
        answers = list(pool.map(lambda run: take(run, folder), runs))
    winners = [run.run for run, held in zip(runs, answers, strict=True) if held is None]
    assert winners == [document(folder)["run"]]
    assert {held.holder.run for held in answers if held} == set(winners)


def test_a_command_that_cannot_lock_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file"):
        take(ANN, tmp_path / "file")
    with pytest.raises(ValueError, match="no answer"):
        run_lock.read_answer([])


@pytest.mark.parametrize(
    ("started", "controller", "dead"),
    [
        (None, ANN.controller, True),
        ("101", ANN.controller, True),
        ("100", ANN.controller, False),
        # Hidden from this user, but there.
        ("", ANN.controller, False),
        (None, BOB.controller, False),
        (None, "", False),
    ],
)
def test_only_a_run_of_this_controller_is_known_to_be_dead(
    started: str | None, controller: str, dead: bool
) -> None:
    assert run_lock.has_died(ANN, controller=controller, started=lambda pid: started) is dead


@pytest.mark.parametrize("process", ["", "x 1", "0 1", "-1 1"])
def test_a_process_that_is_none_says_nothing(process: str) -> None:
    holder = Holder(run="a1", who="ann", what="cluster.py", controller="here", process=process)
    assert not run_lock.has_died(holder, controller="here", started=lambda pid: None)


def test_nobody_is_known_to_be_dead_where_the_system_does_not_tell() -> None:
    assert not run_lock.has_died(
        Holder(run="a1", who="ann", what="cluster.py"), controller="", started=lambda pid: None
    )


def test_this_process_lives_and_one_that_has_ended_is_dead() -> None:
    mine = run_lock.this_process(what="cluster.py")
    assert mine.controller and mine.process.startswith(f"{os.getpid()} ")
    assert not run_lock.has_died(mine, controller=mine.controller)
    ended = subprocess.Popen(["sleep", "60"])
    start = run_lock.process_start(ended.pid)
    assert start and start.isdecimal()
    ended.kill()
    # Not yet reaped, it is a zombie, and dead as well.
    while run_lock.process_start(ended.pid) is not None:
        time.sleep(0.01)
    ended.wait()
    assert run_lock.process_start(ended.pid) is None


def test_the_sentence_says_who_what_since_when_and_what_to_do() -> None:
    assert run_lock.refusal(Held(holder=ANN, age=245, remaining=150), now=NOW) == (
        "ann@laptop runs cluster.py on this cluster since 2026-11-25 13:59:00 (4 min); nothing was changed; wait for "
        "its end, or, if that run is dead, until 14:05:35 (in 150 s), when its lock expires"
    )
    assert "(2 h 3 min)" in run_lock.refusal(Held(holder=ANN, age=7400, remaining=1), now=NOW)
    lost = run_lock.loss(Held(holder=BOB, age=30, remaining=150), now=NOW)
    assert lost.startswith("bob@desk runs reset.py on this cluster since 2026-11-25 14:02:35 (30 s)")


DEPLOY = """
from pyinfra import host, inventory
from pyinfra.operations import server
from kubeadm_deploys import run_lock
from kubeadm_deploys.locking import one_run_at_a_time
from kubeadm_deploys.nodes import Node, Topology

run_lock.RENEWAL = {renewal}
nodes = tuple(Node(host=each.name, name="cp", ip="10.0.0.1", address="10.0.0.1") for each in inventory)
one_run_at_a_time(topology=Topology(control_planes=nodes, workers=()), folder={folder!r})
server.shell(name="Work", commands=["touch begun.$$; {command}"])
server.shell(name="Work more", commands=["touch done"])
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path, folder: Path) -> Iterator[Start]:
    """Start pyinfra with a deploy under the lock whose first command is given, on this machine unless told otherwise."""
    running: list[subprocess.Popen[str]] = []

    def begin(
        command: str,
        *arguments: str,
        inventory: str = "@local",
        lock: Path = folder,
        renewal: float = run_lock.RENEWAL,
    ) -> subprocess.Popen[str]:
        number = len(running)
        (tmp_path / f"work{number}.py").write_text(
            DEPLOY.format(folder=str(lock), command=command, renewal=renewal)
        )
        pyinfra = str(Path(sys.executable).with_name("pyinfra"))
        process = subprocess.Popen(
            [pyinfra, *(arguments or ("-y",)), inventory, f"work{number}.py"],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        # Commands outlive a run that was killed or interrupted twice.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


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


def test_a_second_run_stops_before_anything_and_the_first_goes_on(
    start: Start, tmp_path: Path, folder: Path
) -> None:
    first = start("until [ -e go ]; do sleep 0.1; done")
    wait_for_work(tmp_path)
    code, output = ended(start("true"))
    assert (code, output.count("runs work0.py on this cluster since")) == (1, 1)
    assert "Traceback" not in output
    assert len(list(tmp_path.glob("begun.*"))) == 1
    (tmp_path / "go").touch()
    assert ended(first)[0] == 0
    assert list(folder.iterdir()) == []
    assert ended(start("true"))[0] == 0


def test_a_dry_run_neither_takes_the_lock_nor_minds_it(start: Start, tmp_path: Path, folder: Path) -> None:
    assert ended(start("true", "--dry"))[0] == 0
    assert not folder.exists()
    take(ANN, folder)
    assert ended(start("true", "--dry"))[0] == 0


def test_a_killed_run_is_followed_at_once(start: Start, tmp_path: Path, folder: Path) -> None:
    first = start("sleep 60")
    wait_for_work(tmp_path)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert document(folder)["what"] == "work0.py"
    code, output = ended(start("true"))
    assert code == 0, output


def test_a_failed_run_gives_the_lock_up(start: Start, folder: Path) -> None:
    assert ended(start("exit 3"))[0] == 1
    assert list(folder.iterdir()) == []


def test_an_interrupted_run_gives_the_lock_up(start: Start, tmp_path: Path, folder: Path) -> None:
    # pyinfra waits for the command after the first Ctrl-C.
    first = start("sleep 3")
    wait_for_work(tmp_path)
    first.send_signal(signal.SIGINT)
    ended(first)
    assert list(folder.iterdir()) == []


def test_a_run_that_is_interrupted_twice_is_followed_at_once(start: Start, tmp_path: Path) -> None:
    # Some releases of Python begin no process any more at this point, such as the one that would release the lock.
    first = start("sleep 60")
    wait_for_work(tmp_path)
    for _ in range(2):
        first.send_signal(signal.SIGINT)
        time.sleep(1.5)
    ended(first)
    code, output = ended(start("true"))
    assert code == 0, output


def test_a_control_plane_that_takes_no_lock_is_a_warning(start: Start, folder: Path) -> None:
    folder.write_text("")
    code, output = ended(start("true"))
    assert code == 0
    assert "Warning: @local: no lock could be taken" in output


def test_a_control_plane_that_has_lost_the_lock_in_a_reboot_gets_it_again(
    start: Start, tmp_path: Path, folder: Path
) -> None:
    first = start("until [ -e go ]; do sleep 0.1; done", renewal=0.2)
    wait_for_work(tmp_path)
    (folder / "lock").rename(tmp_path / "lost")
    wait_until((folder / "lock").exists)
    (tmp_path / "go").touch()
    assert ended(first)[0] == 0
    assert list(folder.iterdir()) == []


def test_a_run_that_has_lost_its_lock_to_another_does_nothing_more(
    start: Start, tmp_path: Path, folder: Path
) -> None:
    first = start("until [ -e go ]; do sleep 0.1; done; sleep 2", renewal=0.2)
    wait_for_work(tmp_path)
    assert take(BOB, folder, dead=document(folder)["run"]) is None
    (tmp_path / "go").touch()
    code, output = ended(first)
    assert (code, output.count("bob@desk runs reset.py on this cluster since")) == (1, 1)
    assert not (tmp_path / "done").exists()
    assert document(folder)["run"] == BOB.run


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may chroot")
def test_a_run_that_is_refused_by_one_control_plane_keeps_the_lock_on_none(
    start: Start, tmp_path: Path
) -> None:
    # Three hosts that are this machine, each in its own working directory, to which the lock's path is relative.
    folders = [tmp_path / name / "lock" for name in ("a", "b", "c")]
    for folder in folders:
        folder.parent.mkdir()
    names = ("@chroot//", "@chroot//.", "@chroot//./.")
    hosts = [(name, {"_chdir": str(folder.parent)}) for name, folder in zip(names, folders, strict=True)]
    (tmp_path / "inventory.py").write_text(f"hosts = {hosts!r}\n")

    take(BOB, folders[2])
    code, output = ended(start("true", inventory="inventory.py", lock=Path("lock")))
    assert (code, output.count("bob@desk runs reset.py on this cluster since")) == (1, 1)
    assert [list(folder.glob("*")) for folder in folders] == [[], [], [folders[2] / "lock"]]

    release(BOB, folders[2])
    run = start("until [ -e ../go ]; do sleep 0.1; done", inventory="inventory.py", lock=Path("lock"))
    wait_until(lambda: list(tmp_path.glob("*/begun.*")))
    assert len({document(folder)["run"] for folder in folders}) == 1
    (tmp_path / "go").touch()
    assert ended(run)[0] == 0
    assert [list(folder.iterdir()) for folder in folders] == [[], [], []]
