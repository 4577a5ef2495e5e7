"""Files written by the real shell: they keep mode and owner, and their contents appear nowhere else."""

import os
import shlex
import stat
import subprocess
from collections.abc import Collection
from pathlib import Path

import pytest
from pyinfra.api import Config, Host, Inventory, State
from pyinfra.api.command import StringCommand
from pyinfra.api.connect import connect_all

from kubeadm_deploys.facts.endpoint_name import HOSTS_FILE, ApiEndpointState
from kubeadm_deploys.operations.text_files import write_command
from kubeadm_deploys.remote import direct
from kubeadm_deploys.sections.api_endpoint import resolve_commands
from tests.support.remote_scripts import with_programs

FSTAB = b"//nas/x /mnt cifs username=svc,password=hunter2 0 0\n"
# Only root can change the owner of a file.
OTHER_USER, OTHER_GROUP = (4711, 4712) if os.geteuid() == 0 else (os.geteuid(), os.getegid())


def write(
    contents: dict[Path, bytes],
    *,
    programs: Path | None = None,
    cut: int | None = None,
    private: Collection[Path] = (),
) -> subprocess.CompletedProcess[str]:
    """Run the command as a connector does; after ``cut`` bytes of stdin the connection is lost."""
    command = write_command(
        {str(file): content for file, content in contents.items()}, private=[*map(str, private)]
    )
    stdin = command.connector_arguments["_stdin"]
    assert isinstance(stdin, str)
    return subprocess.run(
        ["sh", "-c", with_programs(command, programs or "")],
        input=stdin[:cut],
        capture_output=True,
        text=True,
        timeout=60,
    )


def written(contents: dict[Path, bytes]) -> None:
    done = write(contents)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path: path.read_bytes() for path in contents} == contents


def identity(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


def test_files_with_any_content_and_their_folders_are_written(tmp_path: Path) -> None:
    contents = {
        tmp_path / "a": b"",
        tmp_path / "new/deep/it's a name": bytes(range(256)),
        tmp_path / "big": b"x" * 300_000,
        tmp_path / "c": "ü\n\n".encode(),
    }
    written(contents)
    assert {identity(path) for path in contents} == {(0o644, os.geteuid(), os.getegid())}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "big", "c", "new"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400, 0o755])
def test_a_file_keeps_its_mode_owner_and_group(tmp_path: Path, mode: int) -> None:
    fstab = tmp_path / "fstab"
    fstab.write_bytes(b"before")
    os.chown(fstab, OTHER_USER, OTHER_GROUP)
    fstab.chmod(mode)
    written({fstab: FSTAB})
    assert identity(fstab) == (mode, OTHER_USER, OTHER_GROUP)


def test_a_private_file_is_only_for_root_whatever_it_was_before(tmp_path: Path) -> None:
    old, new, other = tmp_path / "old", tmp_path / "new", tmp_path / "other"
    old.write_bytes(b"before")
    old.chmod(0o644)
    contents = {str(old): b"secret", str(other): b"x", str(new): b"secret"}
    command = write_command(contents, private=[str(old), str(new)])
    shell = ["sh", "-c", with_programs(command, "")]
    subprocess.run(shell, input=str(command.connector_arguments["_stdin"]), text=True, check=True)
    assert {path.name: identity(path)[0] for path in tmp_path.iterdir()} == {
        "old": 0o600,
        "new": 0o600,
        "other": 0o644,
    }
    assert (old.read_bytes(), new.read_bytes(), other.read_bytes()) == (b"secret", b"secret", b"x")


def test_a_private_file_is_only_for_its_owner_from_the_first_moment(tmp_path: Path) -> None:
    programs, modes = tmp_path / "bin", tmp_path / "modes"
    programs.mkdir()
    (programs / "base64").write_text(
        f'#!/bin/sh\nstat -c %a {tmp_path}/.*.?????? >> {modes}\nexec /usr/bin/base64 "$@"\n'
    )
    (programs / "base64").chmod(0o755)
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"before")
    old.chmod(0o644)
    done = write({old: b"secret", new: b"secret"}, programs=programs, private=[old, new])
    assert done.returncode == 0, done.stderr
    assert {identity(path)[0] for path in (old, new)} == {0o600}
    assert modes.read_text().split() == ["600", "600"]


def test_a_link_stays_and_its_file_is_renamed_into_place(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real/hosts", tmp_path / "etc/hosts"
    real.write_bytes(b"before")
    real.chmod(0o600)
    (tmp_path / "etc/second").symlink_to("../real/hosts")
    link.symlink_to("second")
    inode = real.stat().st_ino
    written({link: b"after"})
    assert (link.is_symlink(), real.is_symlink(), real.read_bytes()) == (True, False, b"after")
    assert identity(real)[0] == 0o600
    assert real.stat().st_ino != inode
    assert list((tmp_path / "real").iterdir()) == [real]


def test_a_link_to_a_missing_file_creates_the_file(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("file")
    written({link: b"x"})
    assert link.is_symlink() and identity(tmp_path / "file")[0] == 0o644


def test_a_path_that_cannot_be_written_is_kept_and_named(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "no/file")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "masked").symlink_to(tmp_path / "pipe")
    for name, problem in {
        "dangling": "is a link to a place that does not exist",
        "folder": f"{tmp_path}/folder, which is not a regular file",
        "masked": f"{tmp_path}/pipe, which is not a regular file",
    }.items():
        done = write({tmp_path / name: b"x"})
        assert done.returncode == 1
        assert f"{tmp_path}/{name} " in done.stderr and problem in done.stderr
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["dangling", "folder", "masked", "pipe"]
    assert (tmp_path / "pipe").is_fifo()


def test_a_lost_connection_leaves_whole_files(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    second.write_bytes(b"before")
    # The first line has 13 bytes.
    done = write({first: b"one line\n", second: b"another line\n"}, cut=20)
    assert done.returncode == 1
    assert f"the content of {second} did not arrive" in done.stderr
    assert (first.read_bytes(), second.read_bytes()) == (b"one line\n", b"before")
    assert len(list(tmp_path.iterdir())) == 2


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    for leftover in (".file.kubeadm-deploys", ".file.kubeadm-deploys.aB3xYz"):
        (tmp_path / leftover).write_text("half")
    (tmp_path / ".other.kubeadm-deploys.aB3xYz").write_text("theirs")
    written({tmp_path / "file": b"x"})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.kubeadm-deploys.aB3xYz", "file"]


def test_no_argument_of_any_process_has_the_content(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("base64", "cp", "mktemp", "mv", "sync"):
        program = programs / name
        program.write_text(
            f'#!/bin/sh\ncat /proc/[0-9]*/cmdline >> {seen} 2> /dev/null\nexec /usr/bin/{name} "$@"\n'
        )
        program.chmod(0o755)
    done = write({tmp_path / "fstab": FSTAB}, programs=programs)
    assert done.returncode == 0, done.stderr
    arguments = seen.read_bytes()
    # The shell's own arguments were seen.
    assert b"write-files" in arguments
    assert [part for part in (b"hunter2", b"Ly9uYXMveCAv") if part in arguments] == []
    assert (tmp_path / "fstab").read_bytes() == FSTAB


def test_files_are_synced_before_the_rename_and_folders_after_it(tmp_path: Path) -> None:
    programs, log = tmp_path / "bin", tmp_path / "log"
    programs.mkdir()
    for name in ("mv", "sync"):
        program = programs / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >> {log}\nexec /usr/bin/{name} "$@"\n')
        program.chmod(0o755)
    file = tmp_path / "folder/file"
    done = write({file: b"x"}, programs=programs)
    assert done.returncode == 0, done.stderr
    (first, partial), moved, last = [shlex.split(line) for line in log.read_text().splitlines()]
    assert (first, moved[-2:], last) == ("sync", [partial, str(file)], ["sync", str(file.parent)])


# How the command reaches a machine.


def test_a_command_that_continues_after_the_files_keeps_their_stdin() -> None:
    found = ApiEndpointState(hosts_files={HOSTS_FILE: "127.0.0.1 localhost\n"}, joined=True)
    (command,) = resolve_commands(found, endpoint="api.internal", address="10.0.0.1")
    assert "restart-clients" in command.get_raw_value()
    alone = write_command({HOSTS_FILE: b"127.0.0.1 localhost\n10.0.0.1 api.internal\n"})
    assert command.connector_arguments == alone.connector_arguments


def test_stdin_reaches_the_connector_outside_operations_too(tmp_path: Path) -> None:
    state = State(inventory=Inventory((["@local"], {})), config=Config())
    host: Host = state.inventory.get_host("@local")
    connect_all(state)
    done, output = direct.run(host, StringCommand("cat", _stdin="from the command"))
    assert (done, output.stdout) == (True, "from the command")
    done, output = direct.run(host, write_command({str(tmp_path / "file"): b"x"}))
    assert (done, (tmp_path / "file").read_bytes()) == (True, b"x"), output.stderr
    assert direct.run(host, "cat", stdin="given")[1].stdout == "given"


def test_files_get_the_mode_that_they_are_given(tmp_path: Path) -> None:
    first, second = tmp_path / "a/policy.yaml", tmp_path / "a/other"
    second.parent.mkdir()
    second.write_text("before")
    command = write_command(
        {str(first): b"rules", str(second): b"x"}, modes={str(first): "0640", str(second): "0600"}
    )
    stdin = command.connector_arguments["_stdin"]
    assert isinstance(stdin, str)
    subprocess.run(["sh", "-c", with_programs(command, "")], input=stdin, text=True, check=True, timeout=60)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (first, second)] == [0o640, 0o600]
    assert (first.read_bytes(), second.read_bytes()) == (b"rules", b"x")
