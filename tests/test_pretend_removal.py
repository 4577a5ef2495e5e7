"""``remove_node.py`` and ``reset.py`` on pretend machines: what they take away, and whose machines they refuse."""

from pathlib import Path

import pytest

from tests.pretend.command_line import before_operations, run

FORCE = "--data=force=true"


def test_a_worker_is_removed_in_order(tmp_path: Path) -> None:
    done = run(tmp_path, "remove_node.py", "well", "--data=node=worker-1")
    assert done.exit_code == 0, done.output
    assert done.decisive == [
        "cp-1: drain",
        "cp-1: delete node",
        "worker-1: clean and keep etcd",
    ]


def test_a_control_plane_is_removed_in_order(tmp_path: Path) -> None:
    done = run(tmp_path, "remove_node.py", "well", "--data=node=cp-2", control_planes="3")
    assert done.exit_code == 0, done.output
    assert done.decisive == [
        "cp-1: drain",
        "cp-2: stop the API server",
        "cp-1: remove from etcd",
        "cp-1: delete node",
        "cp-2: clean and keep etcd",
    ]


@pytest.mark.parametrize("force", [(), (FORCE,)])
@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("worker", "worker-9: is a node of another cluster"),
        ("control-plane", "worker-9: is a node of another cluster"),
        ("etcd", "worker-9: has etcd data in /var/lib/etcd"),
    ],
)
def test_a_foreign_machine_is_not_removed(
    tmp_path: Path, what: str, said: str, force: tuple[str, ...]
) -> None:
    done = run(tmp_path, "remove_node.py", "foreign_machine", "--data=node=worker-9", *force, what=what)
    before_operations(done, said, "no changes were made")


def test_another_cluster_at_the_inventorys_address_loses_no_node(tmp_path: Path) -> None:
    done = run(tmp_path, "remove_node.py", "another_cluster", "--data=node=prod-worker-1", FORCE)
    before_operations(done, "are the cluster 'production'")


def test_a_limit_that_leaves_one_host_that_answers_does_not_name_it(tmp_path: Path) -> None:
    done = run(tmp_path, "remove_node.py", "one_worker_down", "--limit", "workers")
    before_operations(done, "--limit names 2 hosts", "add --data node=NAME")


def test_a_limit_to_one_host_names_it(tmp_path: Path) -> None:
    done = run(tmp_path, "remove_node.py", "well", "--limit", "@fake/worker-1")
    assert done.decisive == ["cp-1: drain", "cp-1: delete node", "worker-1: clean and keep etcd"], done.output


@pytest.mark.parametrize(
    ("node", "control_planes", "fact", "said"),
    [
        ("worker-1", "1", "KubeadmNode", "cp-1 could not be read (sh: 1: Cannot fork)"),
        ("worker-1", "1", "ClusterMembers", "could not read cluster members: sh: 1: Cannot fork"),
        # Of a control plane that leaves etcd's majority is asked for.
        ("cp-2", "3", "EtcdHealth", "could not read etcd health: sh: 1: Cannot fork"),
    ],
)
def test_who_would_be_left_is_not_guessed(
    tmp_path: Path, node: str, control_planes: str, fact: str, said: str
) -> None:
    done = run(
        tmp_path,
        "remove_node.py",
        "question_fails",
        f"--data=node={node}",
        fact=fact,
        control_planes=control_planes,
    )
    before_operations(done, said)


@pytest.mark.parametrize(
    ("node", "control_planes", "fact", "answered", "before"),
    [
        # With the lock in hand all is read again.
        ("worker-1", "1", "ClusterMembers", "0", []),
        ("cp-2", "3", "EtcdHealth", "0", []),
        # Whether a node is Ready decides whether it is drained.
        ("worker-1", "1", "ClusterMembers", "1", []),
        ("cp-2", "3", "EtcdHealth", "1", ["cp-1: drain"]),
        ("cp-2", "3", "EtcdMembers", "0", ["cp-1: drain"]),
    ],
)
def test_a_question_that_fails_ends_a_removal(
    tmp_path: Path, node: str, control_planes: str, fact: str, answered: str, before: list[str]
) -> None:
    done = run(
        tmp_path,
        "remove_node.py",
        "question_fails",
        f"--data=node={node}",
        fact=fact,
        control_planes=control_planes,
        when="locked",
        answered=answered,
    )
    assert (done.exit_code, done.decisive) == (1, before), done.output
    assert "Traceback" not in done.output, done.output
    assert "sh: 1: Cannot fork" in done.output


def test_a_node_that_was_not_drained_stays(tmp_path: Path) -> None:
    done = run(tmp_path, "remove_node.py", "drain_fails", "--data=node=worker-1")
    assert (done.exit_code, done.decisive) == (1, []), done.output
    assert "Cannot evict pod" in done.output and "Traceback" not in done.output


def test_a_cluster_is_given_up_as_a_whole(tmp_path: Path) -> None:
    done = run(tmp_path, "reset.py", "well", "--data=confirm=kubernetes")
    assert done.exit_code == 0, done.output
    assert {change for change in done.decisive if "clean" in change} == {"cp-1: clean", "worker-1: clean"}


def test_a_foreign_worker_is_not_reset_where_there_is_no_cluster(tmp_path: Path) -> None:
    done = run(tmp_path, "reset.py", "foreign_worker_without_a_cluster", "--data=confirm=kubernetes")
    before_operations(done, "its kubelet belongs to the cluster at https://api.production.internal:6443")


def test_a_foreign_worker_is_not_reset_beside_a_cluster(tmp_path: Path) -> None:
    done = run(tmp_path, "reset.py", "foreign_machine", "--data=confirm=kubernetes", FORCE, what="worker")
    before_operations(done, "worker-9: is a node of another cluster")


def test_another_cluster_at_the_inventorys_address_is_not_reset(tmp_path: Path) -> None:
    for force in ((), (FORCE,)):
        done = run(tmp_path, "reset.py", "another_cluster", "--data=confirm=staging", *force)
        before_operations(done, "are the cluster 'production'")


def test_part_of_a_cluster_that_cannot_be_asked_is_not_reset(tmp_path: Path) -> None:
    arguments = ("--data=confirm=kubernetes", "--limit", "@fake/worker-1")
    done = run(tmp_path, "reset.py", "well", *arguments, unreachable="cp-1")
    before_operations(done, "worker-1: part of a cluster that goes on without it", "cp-1 could not be asked")
    forced = run(tmp_path, "reset.py", "well", *arguments, FORCE, unreachable="cp-1", control_planes="3")
    assert forced.exit_code == 0, forced.output
    assert "worker-1: clean" in forced.decisive
    # The cluster is lost with its only control plane, and its worker can be used again.
    alone = run(tmp_path, "reset.py", "well", *arguments, FORCE, unreachable="cp-1")
    assert alone.exit_code == 0, alone.output
    assert "goes on without the lock of 1 of 1 control planes" in alone.output
    assert "worker-1: clean" in alone.decisive


def test_a_machine_that_cannot_be_read_is_not_reset(tmp_path: Path) -> None:
    arguments = {"fact": "KubeadmNode", "control_planes": "1"}
    done = run(tmp_path, "reset.py", "question_fails", "--data=confirm=kubernetes", **arguments)
    before_operations(done, "@fake/cp-1: could not read kubeadm node: sh: 1: Cannot fork")
    traces = run(
        tmp_path,
        "reset.py",
        "question_fails",
        "--data=confirm=kubernetes",
        **{**arguments, "fact": "ClusterTraces"},
    )
    assert traces.exit_code == 1
    assert "cp-1: clean" not in traces.changes
    assert "could not read cluster traces" in traces.output and "Traceback" not in traces.output
