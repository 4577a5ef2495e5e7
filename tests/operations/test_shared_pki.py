"""A cluster's keys between control planes: all arrive, or none is written and the missing ones are named."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import DeployError
from pyinfra.connectors.util import CommandOutput, OutputLine

from kubeadm_deploys.cluster.join_credentials import JoinCredentials
from kubeadm_deploys.operations.shared_pki import FILES, FOLDER, read_command, write_command
from kubeadm_deploys.remote import direct


@pytest.fixture
def leader(tmp_path: Path) -> Path:
    """A folder with all shared files, and others that belong to one control plane only."""
    folder = tmp_path / "leader"
    for number, name in enumerate((*FILES, "apiserver.key", "etcd/server.key")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        # Longer than one line of base64.
        (folder / name).write_bytes(bytes([number]) + b"\n\0" + name.encode() * 100)
    return folder


def shell(command: StringCommand) -> subprocess.CompletedProcess[str]:
    stdin = command.connector_arguments.get("_stdin", "")
    assert isinstance(stdin, str)
    # As pyinfra's connectors do.
    stdin += "" if stdin.endswith("\n") else "\n"
    return subprocess.run(
        ["sh", "-c", command.get_raw_value()], input=stdin, capture_output=True, text=True, timeout=60
    )


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_files_arrive_with_kubeadms_modes(leader: Path, tmp_path: Path) -> None:
    joining = tmp_path / "joining/pki"
    pki = shell(read_command(folder=str(leader))).stdout
    done = shell(write_command(pki.strip(), folder=str(joining)))
    assert (done.returncode, done.stderr) == (0, "")
    assert files(joining) == {name: (leader / name).read_bytes() for name in FILES}
    modes = {name: (joining / name).stat().st_mode & 0o777 for name in FILES}
    assert modes == {name: 0o600 if name.endswith(".key") else 0o644 for name in FILES}
    assert sorted(path.name for path in joining.iterdir() if path.is_dir()) == ["etcd"]


@pytest.mark.parametrize("name", FILES)
def test_files_that_the_leader_lacks_are_named(leader: Path, name: str) -> None:
    (leader / name).unlink()
    (leader / "sa.pub").write_bytes(b"")
    done = shell(read_command(folder=str(leader)))
    assert (done.returncode, done.stdout) == (1, "")
    missing = " ".join(file for file in FILES if file in (name, "sa.pub"))
    assert done.stderr == f"missing or empty in {leader}: {missing}\n"


def test_an_unreadable_file_is_not_taken_for_empty(leader: Path) -> None:
    (leader / "ca.key").unlink()
    (leader / "ca.key").mkdir()
    done = shell(read_command(folder=str(leader)))
    assert done.returncode == 1
    assert f"{leader}/ca.key cannot be read" in done.stderr


@pytest.mark.parametrize("cut", [0, 1, len(FILES) - 1])
def test_nothing_is_written_when_a_file_does_not_arrive(leader: Path, tmp_path: Path, cut: int) -> None:
    joining = tmp_path / "joining"
    lines = shell(read_command(folder=str(leader))).stdout.splitlines()
    for pki in (lines[:cut], [*lines[:cut], *lines[cut + 1 :]], [*lines[:cut], f"{FILES[cut]} "]):
        done = shell(write_command("\n".join(pki), folder=str(joining)))
        assert done.returncode == 1
        assert done.stderr == f"{FILES[cut]} of the cluster's keys did not arrive; none was written\n"
        assert files(joining) == {}


def test_no_key_is_in_an_argument(leader: Path) -> None:
    pki = shell(read_command(folder=str(leader))).stdout
    command = write_command(pki)
    assert FOLDER in command.get_raw_value()
    assert [line for line in pki.splitlines() if line.split()[1] in command.get_raw_value()] == []


def test_missing_keys_stop_the_run_and_are_named(leader: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (leader / "etcd/ca.key").unlink()

    def run(host: Any, command: StringCommand) -> tuple[bool, CommandOutput]:
        local = command.get_raw_value().replace(FOLDER, str(leader))
        done = subprocess.run(["sh", "-c", local], capture_output=True, text=True)
        return done.returncode == 0, CommandOutput(
            [OutputLine("stderr", line) for line in done.stderr.splitlines()]
        )

    class Leader:
        name = "cp-1"

    monkeypatch.setattr(direct, "run", run)
    with pytest.raises(
        DeployError, match=r"cp-1: could not read the cluster's keys: missing .*: etcd/ca\.key$"
    ):
        JoinCredentials.ask_shared_pki(Leader())  # type: ignore[arg-type]  # nothing else of it counts
