"""`make cluster`, as README's first screen has it."""

import os
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import PREFIX, ROOT
from tests.e2e.room import places, room
from tests.e2e.turns import GROWTH, OTHER_MINOR, OTHER_VERSION, THREE_CONTROL_PLANES, VERSION, by_turns
from tests.lab import hosts

CLUSTER = f"{PREFIX}-make"
VERSIONS = [
    pytest.param(VERSION, marks=by_turns(THREE_CONTROL_PLANES, GROWTH)),
    pytest.param(OTHER_VERSION, marks=by_turns(OTHER_MINOR)),
]


@dataclass(frozen=True)
class Made:
    """A cluster that `make cluster` made, and what it printed."""

    version: str
    printed: str


def make(*arguments: str) -> str:
    # A make inside `make test` must not take over the outer one's flags.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    done = subprocess.run(
        ["make", *arguments, f"CLUSTER={CLUSTER}"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def cluster(version: str, *, workers: int) -> str:
    """Run `make cluster` and return what it prints."""
    return make(
        "cluster", "CONTROL_PLANES=1", f"WORKERS={workers}", f"KUBERNETES_VERSION={version}", "DEBIAN=13"
    )


def ready_nodes(printed: str, *, version: str) -> list[str]:
    """The names of the nodes that `make cluster` shows as Ready in a version at its end."""
    ending = printed[printed.index("--> Disconnecting") :]
    rows = [line.split() for line in ending.splitlines() if line.startswith(f"{CLUSTER}-")]
    return [row[0] for row in rows if (row[1], row[4]) == ("Ready", f"v{version}")]


@pytest.fixture(scope="module", params=VERSIONS)
def made(lab: None, request: pytest.FixtureRequest) -> Iterator[Made]:
    assert (ROOT / ".venv/ready").exists(), "run the tests by `make test`: it would replace this environment"
    with room(places(control_planes=1, workers=2)):
        try:
            yield Made(version=request.param, printed=cluster(request.param, workers=1))
        finally:
            hosts.down(cluster=CLUSTER)
            kubeconfig().unlink(missing_ok=True)


def kubeconfig() -> Path:
    return ROOT / f"{CLUSTER}.kubeconfig"


def test_it_ends_with_ready_nodes_and_how_to_use_and_remove_them(made: Made) -> None:
    assert ready_nodes(made.printed, version=made.version) == [
        f"{CLUSTER}-control-plane-1",
        f"{CLUSTER}-worker-1",
    ]
    assert f"{CLUSTER}.kubeconfig" in made.printed
    assert "make clean" in made.printed


def test_the_kubeconfig_is_private(made: Made) -> None:
    assert stat.S_IMODE(kubeconfig().stat().st_mode) == 0o600


def test_one_more_worker_is_added_by_the_same_command(made: Made) -> None:
    added = cluster(made.version, workers=2)
    assert ready_nodes(added, version=made.version) == [
        f"{CLUSTER}-{node}" for node in ("control-plane-1", "worker-1", "worker-2")
    ]
    # pyinfra prints each operation with a line for every host.
    joining = added.partition("Joining | Join the cluster")[2].partition("-->")[0].splitlines()
    outcomes = {line.split()[0]: line.rpartition("]")[2].strip() for line in joining if "[@docker/" in line}
    assert outcomes == {
        f"[@docker/{CLUSTER}-control-plane-1]": "No changes",
        f"[@docker/{CLUSTER}-worker-1]": "No changes",
        f"[@docker/{CLUSTER}-worker-2]": "Success",
    }


def test_again_it_changes_nothing(made: Made) -> None:
    again = cluster(made.version, workers=2)
    (total,) = (line.split() for line in again.splitlines() if line.strip().startswith("Grand total"))
    _, _, operations, succeeded, failed, unchanged = total
    assert (succeeded, failed, unchanged) == ("-", "-", operations)


def test_nothing_of_a_cluster_is_left_when_it_is_removed(made: Made) -> None:
    hosts.down(cluster=CLUSTER)
    for kind in ("ps --all", "volume ls"):
        listed = subprocess.run(
            ["docker", *kind.split(), "--quiet", f"--filter=label=kubeadm-deploys.cluster={CLUSTER}"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert listed.stdout == ""
