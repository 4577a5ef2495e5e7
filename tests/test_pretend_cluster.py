"""``cluster.py`` on pretend machines: which events it survives, and what it does not touch then."""

import base64
from pathlib import Path

import pytest
import yaml

from tests.pretend.command_line import before_operations, refused, run
from tests.pretend.scenarios import BACKUP

CHECKED_BY_US = "--ignore-preflight-errors=DirAvailable--var-lib-etcd"


def test_bare_machines_become_a_cluster(tmp_path: Path) -> None:
    done = run(tmp_path, "cluster.py", "new")
    assert done.exit_code == 0, done.output
    # What lies in /var/lib/etcd is looked at by us: a filesystem of its own has a lost+found.
    init = f"cp-1: kubeadm init --skip-token-print {CHECKED_BY_US}"
    assert done.decisive == [init, "worker-1: kubeadm join"]


def test_a_kubeconfig_of_an_earlier_cluster_makes_way_for_the_new_one(tmp_path: Path) -> None:
    """Else the next run would take the new cluster for another one, if this one ends before it has written its own."""
    path = tmp_path / "kubernetes.kubeconfig"
    pem = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nold\n").decode()
    cluster = {"name": "kubernetes", "cluster": {"certificate-authority-data": pem}}
    path.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "clusters": [cluster]}))
    refused(run(tmp_path, "cluster.py", "well"), "another CA certificate", "kubernetes.kubeconfig")
    done = run(tmp_path, "cluster.py", "new")
    assert done.exit_code == 0, done.output
    (aside,) = tmp_path.glob("kubernetes.kubeconfig.before-*")
    assert pem in aside.read_text()
    assert f"is now {aside.name}" in done.output


def test_a_cluster_grows_by_control_planes_one_by_one(tmp_path: Path) -> None:
    done = run(tmp_path, "cluster.py", "growing")
    assert done.exit_code == 0, done.output
    assert sorted(done.decisive) == [f"cp-{number}: kubeadm join {CHECKED_BY_US}" for number in (2, 3)]


def test_a_cluster_that_is_well_is_left_alone(tmp_path: Path) -> None:
    done = run(tmp_path, "cluster.py", "well", control_planes="3")
    assert (done.exit_code, done.decisive) == (0, []), done.output


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("locked", "@fake/cp-1: could not read cluster settings: the connection was lost"),
        ("changed", "the cluster that was there at the beginning of this run cannot be found any more"),
    ],
)
def test_a_control_plane_that_reboots_during_a_run_makes_no_second_cluster(
    tmp_path: Path, when: str, said: str
) -> None:
    done = run(tmp_path, "cluster.py", "rebooting_while_growing", when=when)
    refused(done, said)


@pytest.mark.parametrize("times", ["1", "1000"])
def test_a_control_plane_whose_first_question_fails_makes_no_second_cluster(
    tmp_path: Path, times: str
) -> None:
    done = run(tmp_path, "cluster.py", "question_fails", fact="KubeadmNode", times=times)
    before_operations(done, "@fake/cp-1: could not read kubeadm node: sh: 1: Cannot fork")


def test_a_control_plane_that_cannot_be_reached_makes_no_second_cluster(tmp_path: Path) -> None:
    done = run(tmp_path, "cluster.py", "growing", unreachable="cp-1")
    before_operations(done, "no control plane that answers has a cluster, but cp-1 cannot be reached")
    # What others have is enough to go on with.
    done = run(tmp_path, "cluster.py", "well", control_planes="3", unreachable="cp-1")
    assert done.decisive == [], done.output
    assert "Joining | Join the cluster" in done.output


def test_a_control_plane_that_cannot_be_read_any_more_makes_no_second_cluster(tmp_path: Path) -> None:
    done = run(tmp_path, "cluster.py", "question_fails", fact="KubeadmNode", when="locked")
    refused(done, "Cannot fork")


@pytest.mark.parametrize(
    ("fact", "said"),
    [("ClusterMembers", "cluster members"), ("EtcdMembers", "etcd members"), ("EtcdHealth", "etcd health")],
)
def test_who_is_in_the_cluster_is_not_guessed(tmp_path: Path, fact: str, said: str) -> None:
    done = run(tmp_path, "cluster.py", "question_fails", fact=fact)
    refused(done, f"@fake/cp-1: could not read {said}: sh: 1: Cannot fork")


def test_whether_nodes_are_ready_is_not_guessed(tmp_path: Path) -> None:
    done = run(tmp_path, "cluster.py", "question_fails", fact="ClusterHealth", control_planes="1")
    refused(done, "@fake/cp-1: could not read cluster health: sh: 1: Cannot fork")


@pytest.mark.parametrize("what", ["worker", "only", "third"])
def test_a_node_whose_kubeconfig_was_made_anew_is_left_alone(tmp_path: Path, what: str) -> None:
    done = run(tmp_path, "cluster.py", "made_anew", what=what)
    assert (done.exit_code, done.decisive) == (0, []), done.output


def test_a_vote_under_another_address_is_an_error(tmp_path: Path) -> None:
    done = run(tmp_path, "cluster.py", "known_by_another_address")
    before_operations(done, "etcd has the member cp-3 at 192.168.0.3, and the inventory has cp-3 at 10.0.0.3")


def test_another_cluster_at_the_inventorys_address_is_not_taken_over(tmp_path: Path) -> None:
    done = run(tmp_path, "cluster.py", "another_cluster")
    before_operations(
        done, "cluster_name is 'staging', and the inventory's machines are the cluster 'production'"
    )


def test_two_clusters_in_one_inventory_are_not_joined(tmp_path: Path) -> None:
    done = run(tmp_path, "cluster.py", "two_clusters")
    before_operations(done, "belong to 2 different clusters")


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("worker", "worker-9: is a node of another cluster"),
        ("control-plane", "worker-9: is a node of another cluster"),
        ("etcd", "worker-9: has etcd data in /var/lib/etcd"),
    ],
)
def test_a_foreign_machine_is_not_joined(tmp_path: Path, what: str, said: str) -> None:
    before_operations(run(tmp_path, "cluster.py", "foreign_machine", what=what), said)


@pytest.mark.parametrize("name", ["etcd", "kube-apiserver"])
def test_a_manifest_that_only_kubeadms_backup_has_is_put_back_before_anything_else(
    tmp_path: Path, name: str
) -> None:
    done = run(tmp_path, "cluster.py", "manifest_missing", name=name)
    assert (done.exit_code, done.decisive) == (0, ["cp-1: restore a manifest"]), done.output
    assert f"{BACKUP}/{name}.yaml" in done.output


def test_a_manifest_without_a_backup_is_named_and_no_cluster_is_made(tmp_path: Path) -> None:
    done = run(tmp_path, "cluster.py", "manifest_missing", name="etcd", has_backup="no")
    before_operations(done, "/etc/kubernetes/manifests/etcd.yaml is missing", "kubeadm init phase etcd local")
    assert "kubeadm reset" not in done.output


@pytest.mark.parametrize("greeting", ["Welcome", "\nhave:kubelet.conf\n"])
@pytest.mark.parametrize(
    ("arguments", "decisive"),
    [
        (("preflight.py", "new"), []),
        (("reset.py", "new", "--data=confirm=kubernetes"), []),
        (("cluster.py", "well"), []),
        # Keys go from one control plane to the next.
        (("cluster.py", "growing"), [f"cp-{number}: kubeadm join {CHECKED_BY_US}" for number in (2, 3)]),
    ],
)
def test_what_a_login_shell_prints_is_nobodys_answer(
    tmp_path: Path, arguments: tuple[str, ...], decisive: list[str], greeting: str
) -> None:
    done = run(tmp_path, *arguments, greeting=greeting)
    assert (done.exit_code, sorted(done.decisive)) == (0, decisive), done.output
    assert "Traceback" not in done.output, done.output
