"""The lock file: its real commands on this machine, and how their output is parsed."""

import os
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import HiddenValue
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.connectors.util import CommandOutput, OutputLine, make_unix_command

from kubeadm_deploys import scripts
from kubeadm_deploys.run import lock_messages, run_lock
from kubeadm_deploys.run.run_lock import Held, Holder
from tests.support.fake_answers import framed
from tests.support.lock_files import ANN, BOB, document, release, sh, take

NOW = datetime(2026, 11, 25, 14, 3, 5)

PIPES: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}


def problem(holder: Holder, folder: Path) -> str:
    """Return why a machine that answers does not grant the lock."""
    vote = run_lock.parse_vote(sh(run_lock.take_command(holder, folder=str(folder))))
    assert vote.reached
    return vote.problem


def change(folder: Path, **seconds: int) -> None:
    """Shift the times in the lock file."""
    text = "".join(
        f"{key} {int(value) + seconds[key] if key in seconds else value}\n"
        for key, value in document(folder).items()
    )
    (folder / "lock").write_text(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kubeadm deploys"


def test_a_refused_run_gets_the_holder_of_the_lock(folder: Path) -> None:
    assert take(ANN, folder) is None
    held = take(BOB, folder)
    assert held is not None
    assert held.holder == ANN
    assert 0 <= held.age <= 2
    assert run_lock.LEASE - 2 <= held.remaining <= run_lock.LEASE
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_only_the_holder_releases_a_lock(folder: Path) -> None:
    take(ANN, folder)
    release(BOB, folder)
    assert take(BOB, folder) is not None
    release(ANN, folder)
    assert list(folder.iterdir()) == []
    assert take(BOB, folder) is None


def test_releasing_a_lock_that_was_never_taken_creates_nothing(folder: Path) -> None:
    release(ANN, folder)
    assert not folder.exists()


def test_a_renewal_keeps_the_start_time(folder: Path) -> None:
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


def test_a_lock_from_before_a_reboot_has_expired(folder: Path) -> None:
    take(ANN, folder)
    change(folder, start=1000, until=1000)
    assert take(BOB, folder) is None


@pytest.mark.parametrize("text", ["", "run a1\n", "run a1\nuntil soon\n", "\0\0\0"])
def test_a_damaged_lock_file_counts_as_no_lock(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "lock").write_text(text)
    assert take(BOB, folder) is None
    assert document(folder)["run"] == BOB.run


def test_only_the_lock_of_a_dead_run_is_taken_over(folder: Path) -> None:
    take(ANN, folder)
    assert take(BOB, folder, dead="c3") is not None
    assert take(BOB, folder, dead=ANN.run) is None
    assert take(ANN, folder) is not None


def test_of_many_runs_that_start_at_once_one_gets_the_lock(folder: Path) -> None:
    runs = [Holder(run=str(number), who=f"{number}@laptop", what="cluster.py") for number in range(12)]
    with ThreadPoolExecutor(len(runs)) as pool:
        answers = list(pool.map(lambda run: take(run, folder), runs))
    winners = [run.run for run, held in zip(runs, answers, strict=True) if held is None]
    assert winners == [document(folder)["run"]]
    assert {held.holder.run for held in answers if held} == set(winners)


def test_a_file_or_link_in_place_of_the_folder_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        assert f"/{name} is not a folder; " in problem(ANN, tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]
    assert (tmp_path / "link").is_symlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")
def test_a_folder_of_another_user_is_refused(folder: Path) -> None:
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    assert "does not belong to root" in problem(ANN, folder)
    assert list(folder.iterdir()) == []


def test_without_an_answer_the_control_plane_was_not_reached() -> None:
    vote = run_lock.parse_vote([])
    assert (vote.granted, vote.reached, vote.problem) == (False, False, "no answer")
    vote = run_lock.parse_vote(["sudo: a password is required"])
    assert (vote.granted, vote.reached, vote.problem) == (False, False, "sudo: a password is required")


def read(lines: list[str]) -> run_lock.Vote:
    return run_lock.read_vote(CommandOutput([OutputLine("stdout", line) for line in lines]))


HELD = ["asked", "held", "up 100", "run 1", "who bob@laptop", "start 90", "until 200"]


@pytest.mark.parametrize("answer", [["asked", "taken"], HELD], ids=["taken", "held"])
def test_an_answer_that_was_cut_off_grants_nothing(answer: list[str]) -> None:
    whole = framed("RunLock", answer)
    assert read(whole).granted is (answer != HELD) and bool(read(whole).held) is (answer == HELD)
    for end in range(len(whole)):
        vote = read(whole[:end])
        assert not vote.granted and vote.held is None, end
        assert vote.reached is ("asked" in whole[:end]), end


def test_output_of_a_login_shell_grants_nothing() -> None:
    vote = read(["taken"])
    assert (vote.granted, vote.reached, vote.problem) == (False, False, "taken")


@pytest.mark.parametrize("line", ["until 200", "up 100", "run 1"])
def test_a_lock_that_cannot_be_parsed_is_a_problem(line: str) -> None:
    vote = read(framed("RunLock", [other for other in HELD if other != line]))
    assert not vote.granted and "its lock file cannot be parsed" in vote.problem


@pytest.mark.parametrize("mode", [None, 0o755, 0o777], ids=["new", "earlier version", "open"])
def test_only_root_has_access_to_the_folder(folder: Path, mode: int | None) -> None:
    if mode is not None:
        folder.mkdir()
        folder.chmod(mode)
    assert take(ANN, folder) is None
    assert folder.stat().st_mode & 0o7777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_no_other_user_can_keep_the_folder_locked() -> None:
    with tempfile.TemporaryDirectory() as base:
        Path(base).chmod(0o755)
        folder = Path(base) / "kubeadm-deploys"
        nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        assert subprocess.run([*nobody, "flock", base, "true"]).returncode == 0
        assert take(ANN, folder) is None
        assert subprocess.run([*nobody, "flock", folder, "true"], capture_output=True).returncode != 0


def test_another_process_that_keeps_the_folder_locked_is_reported(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = scripts.text("take-run-lock").replace("--wait 5", "--wait 0.1")
    monkeypatch.setattr(scripts, "text", lambda _: hasty)
    folder.mkdir()
    with subprocess.Popen(["flock", folder, "sh", "-c", "echo locked; read line"], **PIPES) as other:
        assert other.stdout and other.stdout.readline() == "locked\n"
        assert "another process keeps" in problem(ANN, folder)
        other.communicate("\n")
    assert take(ANN, folder) is None


def fenced(command: str | StringCommand, folder: Path) -> StringCommand:
    """Return a fenced command of ANN's run."""
    return run_lock.fenced(command, ANN, folder=str(folder))


SECRET = StringCommand("cat; echo", QuoteString(HiddenValue("s3cret")), "&& echo done")


@pytest.mark.parametrize("before", ["no lock", "own lock", "other lock"])
def test_a_control_plane_refuses_commands_of_a_run_whose_lock_another_run_has(
    folder: Path, before: str
) -> None:
    if before != "no lock":
        take(ANN if before == "own lock" else BOB, folder)
    for wrapped in ({}, {"_chdir": "/"}, {"_env": {"A": "b"}}, {"_shell_executable": "bash"}):
        command = make_unix_command(fenced(SECRET, folder), **wrapped)
        done = subprocess.run(
            ["sh", "-c", command.get_raw_value()], input="the document\n", capture_output=True, text=True
        )
        if before == "other lock":
            assert (done.returncode, done.stdout) == (75, "")
            refusal = run_lock.refusal_in(done.stderr.splitlines())
            assert refusal.endswith("another run has the lock of this control plane (bob@desk)")
        else:
            assert (done.returncode, done.stdout, done.stderr) == (0, "the document\ns3cret\ndone\n", "")


def test_fencing_keeps_secrets_hidden_and_exit_codes(folder: Path) -> None:
    assert "s3cret" not in str(fenced(SECRET, folder)) and "s3cret" in fenced(SECRET, folder).get_raw_value()
    assert str(fenced(SECRET, folder)).endswith(str(SECRET))
    for command in ("exit 3", "false", "sleep 0 & wait; exit 3", "\n# a remark\nexit 3", "set -- a; exit 3"):
        plain = subprocess.run(["sh", "-c", command])
        done = subprocess.run(["sh", "-c", fenced(command, folder).get_raw_value()])
        assert done.returncode == plain.returncode
    assert run_lock.refusal_in(["a line", "another"]) == ""


def test_a_command_whose_folder_does_not_exist_is_not_run_elsewhere(folder: Path, tmp_path: Path) -> None:
    command = make_unix_command(fenced(f"touch {tmp_path}/run", folder), _chdir=str(tmp_path / "gone"))
    assert subprocess.run(["sh", "-c", command.get_raw_value()], capture_output=True).returncode != 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("started", "controller", "dead"),
    [
        (None, ANN.controller, True),
        ("101", ANN.controller, True),
        ("100", ANN.controller, False),
        # The start time is hidden from this user.
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
def test_a_run_without_a_valid_pid_is_not_known_to_be_dead(process: str) -> None:
    holder = Holder(run="a1", who="ann", what="cluster.py", controller="here", process=process)
    assert not run_lock.has_died(holder, controller="here", started=lambda pid: None)


def test_no_run_is_known_to_be_dead_on_a_system_without_this_information() -> None:
    assert not run_lock.has_died(
        Holder(run="a1", who="ann", what="cluster.py"), controller="", started=lambda pid: None
    )


def test_this_process_is_alive_and_one_that_has_ended_is_dead() -> None:
    mine = run_lock.this_process(what="cluster.py")
    assert mine.controller and mine.process.startswith(f"{os.getpid()} ")
    assert not run_lock.has_died(mine, controller=mine.controller)
    ended = subprocess.Popen(["sleep", "60"])
    start = run_lock.process_start(ended.pid)
    assert start and start.isdecimal()
    ended.kill()
    # Until it is reaped it is a zombie, which counts as dead.
    while run_lock.process_start(ended.pid) is not None:
        time.sleep(0.01)
    ended.wait()
    assert run_lock.process_start(ended.pid) is None


def test_the_refusal_names_the_run_its_operator_and_the_expiry() -> None:
    refusal = lock_messages.refusal(Held(holder=ANN, age=245, remaining=150), now=NOW)
    for fact in (
        "ann@laptop has been running cluster.py on this cluster since 2026-11-25 13:59:00 (4 min)",
        "no changes were made",
        "its lock expires at 14:05:35 (in 150 s)",
    ):
        assert fact in refusal
    assert "(2 h 3 min)" in lock_messages.refusal(Held(holder=ANN, age=7400, remaining=1), now=NOW)
    lost = lock_messages.loss(Held(holder=BOB, age=30, remaining=150), now=NOW)
    assert lost.startswith(
        "bob@desk has been running reset.py on this cluster since 2026-11-25 14:02:35 (30 s)"
    )
