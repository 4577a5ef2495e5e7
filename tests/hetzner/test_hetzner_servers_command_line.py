"""The servers deploy on the command line, against the double: output, exit code and Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.hetzner.server import Api
from tests.support.hetzner_cluster import api, key, shape, writes

__all__ = ["api", "key"]

ROOT = Path(__file__).parents[2]


@contextmanager
def started(
    folder: Path, api: Api, *arguments: str, token: str | None = None
) -> "Iterator[subprocess.Popen[str]]":
    """Run pyinfra in its own project, on this machine; kill it when a test fails."""
    process = subprocess.Popen(
        [Path(sys.executable).with_name("pyinfra"), "@local", str(ROOT / "deploys/servers.py"), *arguments],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HCLOUD_ENDPOINT": api.url,
            "HCLOUD_TOKEN": api.token if token is None else token,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def pyinfra(
    folder: Path, api: Api, *arguments: str, token: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run pyinfra to its end."""
    with started(folder, api, *arguments, token=token) as process:
        stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


@pytest.fixture
def project(tmp_path: Path, key: Path) -> Path:
    """Return a folder with a minimal description, where servers.py looks for it."""
    path = tmp_path / "inventories/group_data/hetzner.py"
    path.parent.mkdir(parents=True)
    path.write_text(f"cluster_name = 'demo'\nhetzner = {{'ssh_key': {str(key)!r}}}\n")
    return tmp_path


def test_a_dry_run_a_run_and_a_second_run(project: Path, api: Api) -> None:
    dry = pyinfra(project, api, "--dry")
    assert dry.returncode == 0, dry.stderr
    assert "+ create server demo-worker-1 (cx23, debian-13, fsn1)" in dry.stderr
    assert "Cost per month: 7.98 EUR net (9.50 gross)" in dry.stderr
    assert writes(api) == []

    made = pyinfra(project, api, "-y")
    assert made.returncode == 0, made.stderr
    assert "create server demo-worker-1: done" in made.stderr
    api.calls.clear()

    again = pyinfra(project, api, "-y", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["results"]["totals"]["no_change"] == 1
    assert "Nothing to do" in again.stderr
    assert writes(api) == [] and len(api.calls) <= 8


def test_a_failed_run_is_explained_and_can_be_repeated(project: Path, api: Api) -> None:
    api.faults.order(fault=403, method="POST", path="/servers", code="resource_limit_exceeded", times=None)
    failed = pyinfra(project, api, "-y")
    assert failed.returncode == 1
    assert "2 of 7 steps failed" in failed.stderr and "the project's limit is reached" in failed.stderr
    assert "Traceback" not in failed.stderr + failed.stdout
    api.faults.clear()
    assert pyinfra(project, api, "-y").returncode == 0


@pytest.mark.parametrize(
    ("token", "words"), [("", "HCLOUD_TOKEN is not set"), ("wrong", "rejects the token")]
)
def test_a_bad_token_is_explained(project: Path, api: Api, token: str, words: str) -> None:
    failed = pyinfra(project, api, "-y", token=token)
    assert failed.returncode == 1
    assert words in failed.stderr and "Traceback" not in failed.stderr


def test_a_read_only_token_is_explained(project: Path, api: Api) -> None:
    failed = pyinfra(project, api, "-y", token=api.read_only_token)
    assert failed.returncode == 1
    assert "Read & Write" in failed.stderr and "Traceback" not in failed.stderr


def test_mistyped_data_is_refused(project: Path, api: Api) -> None:
    failed = pyinfra(project, api, "-y", "--data", "descripton=inventories/group_data/staging.py")
    assert failed.returncode == 1
    assert "--data descripton: " in failed.stderr and "did you mean description?" in failed.stderr
    assert writes(api) == []


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_ctrl_c_ends_an_hour_of_waiting(project: Path, api: Api, method: str) -> None:
    api.faults.order(fault=429, method=method, path="/networks", seconds=3000)
    with started(project, api, "-y") as process:
        assert process.stderr is not None
        before = [next(process.stderr)]
        while "rate limit is reached" not in before[-1]:
            before.append(next(process.stderr))
        process.send_signal(signal.SIGINT)
        _, after = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "Stopping: no new API calls" in after and "interrupted" in after
    assert "Traceback" not in after
    assert shape(api)["servers"] == []
    assert pyinfra(project, api, "-y").returncode == 0
    assert len(shape(api)["servers"]) == 2


def test_a_missing_description_is_refused(tmp_path: Path, api: Api) -> None:
    failed = pyinfra(tmp_path, api, "-y", "--data", "description=none.py")
    assert failed.returncode == 1
    assert "'none.py' cannot be read" in failed.stderr
