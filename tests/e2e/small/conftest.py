"""A control plane on Debian 12 and a worker on Debian 13, made by `make cluster`, shared by all modules here.

The modules' names sort in the order of the cluster's life: the last one adds a worker and removes everything.
"""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.conftest import LONGEST_RUN, ROOT, Cluster, docker_hosts
from tests.e2e.room import places

RANGE = "10.213.1.0/28"
"""Addresses that the machine routes to a node, for Services of type LoadBalancer."""


@dataclass(frozen=True)
class Made:
    """A cluster that `make cluster` made from bare hosts, and its output."""

    cluster: Cluster
    printed: str


def make_cluster(cluster: Cluster, *, workers: int) -> str:
    """Run `make cluster`, assert success, and return its output."""
    data = f"kubeconfig={cluster.kubeconfig} service_load_balancer_cidr={RANGE}"
    # A make inside `make test` must not take over the outer one's flags.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    done = subprocess.run(
        ["make", "cluster", f"CLUSTER={cluster.name}", f"WORKERS={workers}", "DEBIAN=mixed", f"DATA={data}"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONGEST_RUN,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="package")
def made(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Make the cluster, with room for the three nodes that it has in the end."""
    current = subprocess.run(["make", "--question", ".venv/ready"], cwd=ROOT, check=False)
    assert current.returncode == 0, (
        "run the tests with `make test`: `make cluster` would replace this environment"
    )
    folder = tmp_path_factory.mktemp("small")
    takes = places(control_planes=1, workers=2)
    with docker_hosts("small", folder=folder, control_planes=0, workers=0, takes=takes) as cluster:
        yield Made(cluster=cluster, printed=make_cluster(cluster, workers=1))


@pytest.fixture(scope="package")
def cluster(made: Made) -> Cluster:
    """Return the cluster; tests undo their changes."""
    return made.cluster


def outcomes(printed: str, operation: str) -> dict[str, str]:
    """Return an operation's result on each host from pyinfra's output: "Success" or "No changes"."""
    # Lines about a long wait may come before the results.
    begins = "--> Starting operation: "
    lines = printed.partition(f"{begins}{operation}")[2].partition(begins)[0].splitlines()
    rows = [line.strip() for line in lines if line.strip().startswith("[@docker/")]
    return {row[len("[@docker/") : row.index("]")]: row.rpartition("]")[2].strip() for row in rows}
