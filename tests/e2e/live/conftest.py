"""One control plane and one worker of the older releases, shared by all modules here.

The modules' names sort in the order of the cluster's life: its options are changed, and at last everything is upgraded.
"""

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import OLDER, Cluster, docker_hosts
from tests.e2e.upgrading import OLD_CONTAINERD, OLD_RUNC
from tests.support.document_options import as_arguments

AT_FIRST = as_arguments(
    {
        "cluster_configuration": {"scheduler": {"extraArgs": [{"name": "v", "value": "3"}]}},
        "control_plane_files": {"/etc/kubernetes/audit/policy.yaml": {"content": "at first", "mode": "0640"}},
    }
)
"""An argument and a file that the cluster has from the start."""


@pytest.fixture(scope="package")
def cluster(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    data = {"kubernetes_version": OLDER, "containerd_version": OLD_CONTAINERD, "runc_version": OLD_RUNC}
    with docker_hosts("live", folder=tmp_path_factory.mktemp("live"), data=data) as made:
        made.converge(*AT_FIRST)
        yield made
