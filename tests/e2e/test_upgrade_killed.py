"""An upgrade by a minor whose runs are killed, each after one more change than those before it: the next ones end it.

Every change of the upgrade is such a moment: a command that may change a machine or the cluster, when it has ended, and for
kubeadm also while it runs (``tests.chaos.command_killer``). These are about 30, each for 10 to 15 s of another run.
Part of `make chaos`, for that length.
"""

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.conftest import OLDER, VERSION, Cluster, docker_hosts
from tests.e2e.recovery import killed_at_each_change
from tests.e2e.requester import APPLICATION, REPLICAS, demand, deploy, requester
from tests.e2e.upgrading import NEW, OLD_CONTAINERD, UPGRADE, assert_upgraded, upgrade

pytestmark = pytest.mark.chaos


@pytest.fixture(scope="module")
def cluster(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    # Without taints, so that each node's pods have another place while it is drained.
    data = {"kubernetes_version": OLDER, "containerd_version": OLD_CONTAINERD, "node_taints": []}
    folder = tmp_path_factory.mktemp("upgrade-killed")
    with docker_hosts("upgrade-killed", folder=folder, debian=(12,), data=data) as made:
        made.converge()
        yield made


def test_an_upgrade_whose_runs_are_killed_after_each_change_is_ended_by_the_next_ones(
    cluster: Cluster, record_property: Callable[[str, object], None]
) -> None:
    deploy(cluster)
    demand(cluster, available=REPLICAS - 1)
    with requester(cluster, through=cluster.control_plane) as requests:
        requests.works_on()
        kills = killed_at_each_change(cluster, *NEW, "--data=backup=false", deploy=UPGRADE)
        requests.works_on()
        failures = requests.failures()
        record_property(
            "measured",
            f"1 + 1 upgraded by runs that were killed {len(kills)} times: {len(failures)} of {len(requests.lines())} requests "
            "failed",
        )
        assert failures == []
    host, worker = cluster.control_plane, cluster.worker
    commands = {(kill.host, kill.command) for kill in kills}
    on_leader = ("write record", f"kubeadm upgrade apply v{VERSION}", "drain", "annotate", "uncordon")
    assert {(host, command) for command in on_leader} <= commands
    assert {(worker, "kubeadm upgrade node"), (worker, "install-packages")} <= commands
    # Of kubeadm, the most important of them.
    assert any(not kill.ended for kill in kills if kill.command.startswith("kubeadm upgrade apply"))
    assert_upgraded(cluster)
    assert_no_pod_is_lost(cluster)
    again = upgrade(cluster)
    assert (again.exit_code, again.changed) == (0, []), again.output
    assert cluster.converge(*NEW).changed == []


def assert_no_pod_is_lost(cluster: Cluster) -> None:
    """Assert that every workload has all its pods, and that each pod runs."""
    cluster.kubectl("rollout", "status", f"deployment/{APPLICATION}", "--timeout=120s")
    wait = ("wait", "--for=condition=Available", "deployments", "--all", "--all-namespaces")
    cluster.kubectl(*wait, "--timeout=120s")
    get = ("get", "pods", "--all-namespaces", "--field-selector=status.phase!=Running", "--output=name")
    assert cluster.kubectl(*get) == ""
