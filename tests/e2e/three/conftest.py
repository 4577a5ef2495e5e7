"""Three control planes and a worker, made in one run, shared by all modules here.

The modules' names sort in the order of the cluster's life: control planes are lost and replaced, then etcd's majority is
lost, and at last options are changed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.conftest import Cluster, docker_hosts
from tests.e2e.recovery import ended, output, start
from tests.e2e.watch import Watch, watching

HOSTS: dict[str, Any] = {"control_planes": 3, "workers": 1, "debian": (12,)}


@dataclass(frozen=True)
class Made:
    """A cluster made by a run with full debug output, that output, and what was seen meanwhile."""

    cluster: Cluster
    printed: str
    watch: Watch


@pytest.fixture(scope="package")
def made(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    with docker_hosts("three", folder=tmp_path_factory.mktemp("three"), **HOSTS) as cluster:
        with (
            watching(cluster, tmp_path_factory.mktemp("watch")) as watch,
            start(cluster, "-vvv", "--debug") as run,
        ):
            assert ended(run) == 0, output(cluster)[-5000:]
        yield Made(cluster=cluster, printed=output(cluster), watch=watch)


@pytest.fixture(scope="package")
def cluster(made: Made) -> Cluster:
    return made.cluster


def names(cluster: Cluster, *, group: str | None = None) -> list[str]:
    """Return the names of all machines, or of those in a group."""
    return sorted(host.name for host in cluster.hosts if group in (None, host.group))
