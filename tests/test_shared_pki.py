"""The keys of a cluster between two control planes: all of them arrive, or nothing is done and the missing are named."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import DeployError
from pyinfra.connectors.util import CommandOutput, OutputLine

from kubeadm_deploys.cluster.join_credentials import JoinCredentials
from kubeadm_deploys.operations import direct
from kubeadm_deploys.operations.shared_pki import FILES, FOLDER, read_command, write_command


@pytest.fixture
def leader(tmp_path: Path) -> Path:
    """A folder with all the files, and others that are a control plane's own."""
    folder = tmp_path / "leader"
    for number, name in enumerate((*FILES, "apiserver.key", "etcd/server.key")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        # Longer than a line of base64.
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


def test_all_of_them_arrive_with_kubeadms_modes(leader: Path, tmp_path: Path) -> None:
    joining = tmp_path / "joining/pki"
    pki = shell(read_command(folder=str(leader))).stdout
    done = shell(write_command(pki.strip(), folder=str(joining)))
    assert (done.returncode, done.stderr) == (0, "")
    assert files(joining) == {name: (leader / name).read_bytes() for name in FILES}
    modes = {name: (joining / name).stat().st_mode & 0o777 for name in FILES}
    assert modes == {name: 0o600 if name.endswith(".key") else 0o644 for name in FILES}
    assert sorted(each.name for each in joining.iterdir() if each.is_dir()) == ["etcd"]


@pytest.mark.parametrize("name", FILES)
def test_what_the_leader_lacks_is_named(leader: Path, name: str) -> None:
    (leader / name).unlink()
    (leader / "sa.pub").write_bytes(b"")
    done = shell(read_command(folder=str(leader)))
    assert (done.returncode, done.stdout) == (1, "")
    missing = " ".join(each for each in FILES if each in (name, "sa.pub"))
    assert done.stderr == f"missing or empty in {leader}: {missing}\n"


def test_a_file_that_cannot_be_read_is_no_empty_one(leader: Path) -> None:
    (leader / "ca.key").unlink()
    (leader / "ca.key").mkdir()
    done = shell(read_command(folder=str(leader)))
    assert done.returncode == 1
    assert f"{leader}/ca.key cannot be read" in done.stderr


@pytest.mark.parametrize("cut", [0, 1, len(FILES) - 1])
def test_nothing_is_written_when_some_do_not_arrive(leader: Path, tmp_path: Path, cut: int) -> None:
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


def test_a_run_stops_with_the_missing_keys(leader: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        DeployError, match=r"cp-1: the cluster's keys cannot be read: missing .*: etcd/ca\.key$"
    ):
        JoinCredentials.ask_shared_pki(Leader())  # type: ignore[arg-type]  # nothing else of it counts
