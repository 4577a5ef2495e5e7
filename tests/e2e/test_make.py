"""`make cluster`, as README's first screen has it, with another Kubernetes minor."""

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import PREFIX, ROOT
from tests.e2e.room import places, room
from tests.lab import hosts

CLUSTER = f"{PREFIX}-make"
VERSION = "1.35.4"


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


def cluster(*, workers: int) -> str:
    """Run `make cluster` and return what it prints."""
    return make(
        "cluster", "CONTROL_PLANES=1", f"WORKERS={workers}", f"KUBERNETES_VERSION={VERSION}", "DEBIAN=13"
    )


def ready_nodes(printed: str) -> list[str]:
    """The names of the nodes that `make cluster` shows as Ready in the wanted version at its end."""
    ending = printed[printed.index("--> Disconnecting") :]
    rows = [line.split() for line in ending.splitlines() if line.startswith(f"{CLUSTER}-")]
    return [row[0] for row in rows if (row[1], row[4]) == ("Ready", f"v{VERSION}")]


@pytest.fixture(scope="module")
def made(lab: None) -> Iterator[str]:
    assert (ROOT / ".venv/ready").exists(), "run the tests by `make test`: it would replace this environment"
    with room(places(control_planes=1, workers=2)):
        try:
            yield cluster(workers=1)
        finally:
            hosts.down(cluster=CLUSTER)
            kubeconfig().unlink(missing_ok=True)


def kubeconfig() -> Path:
    return ROOT / f"{CLUSTER}.kubeconfig"


def test_it_ends_with_ready_nodes_and_how_to_use_and_remove_them(made: str) -> None:
    assert ready_nodes(made) == [f"{CLUSTER}-control-plane-1", f"{CLUSTER}-worker-1"]
    assert f"{CLUSTER}.kubeconfig" in made
    assert "make clean" in made


def test_the_kubeconfig_is_private(made: str) -> None:
    assert stat.S_IMODE(kubeconfig().stat().st_mode) == 0o600


def test_one_more_worker_is_added_by_the_same_command(made: str) -> None:
    added = cluster(workers=2)
    assert ready_nodes(added) == [f"{CLUSTER}-{node}" for node in ("control-plane-1", "worker-1", "worker-2")]
    # pyinfra prints each operation with a line for every host.
    joining = added.partition("Joining | Join the cluster")[2].partition("-->")[0].splitlines()
    outcomes = {line.split()[0]: line.rpartition("]")[2].strip() for line in joining if "[@docker/" in line}
    assert outcomes == {
        f"[@docker/{CLUSTER}-control-plane-1]": "No changes",
        f"[@docker/{CLUSTER}-worker-1]": "No changes",
        f"[@docker/{CLUSTER}-worker-2]": "Success",
    }


def test_again_it_changes_nothing(made: str) -> None:
    again = cluster(workers=2)
    (total,) = (line.split() for line in again.splitlines() if line.strip().startswith("Grand total"))
    _, _, operations, succeeded, failed, unchanged = total
    assert (succeeded, failed, unchanged) == ("-", "-", operations)


def test_nothing_of_a_cluster_is_left_when_it_is_removed(made: str) -> None:
    hosts.down(cluster=CLUSTER)
    for kind in ("ps --all", "volume ls"):
        listed = subprocess.run(
            ["docker", *kind.split(), "--quiet", f"--filter=label=kubeadm-deploys.cluster={CLUSTER}"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert listed.stdout == ""
