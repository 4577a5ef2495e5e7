"""``cluster.py`` on pretend machines: which events it survives, and what it does not touch then."""

from dataclasses import replace

import pytest

from tests.simulation.beginning import BACKUP
from tests.simulation.history import Command, Event, Fault
from tests.simulation.scenarios import FOREIGN, Hosts, Player, before_operations, fails, machines, refused

NEW = machines("prepared", workers=["prepared"])
WELL = machines("member", workers=["member"])
WELL_OF_THREE = machines("member", "member", "member", workers=["member"])
GROWING = machines("member", "prepared", "prepared")

CHECKED_BY_US = "--ignore-preflight-errors=DirAvailable--var-lib-etcd"

JOINED = [f"cp-{number}: kubeadm join {CHECKED_BY_US}" for number in (2, 3)]

CP_1_STOPS = Event(what="stops", machine="cp-1")


def test_bare_machines_become_a_cluster(player: Player) -> None:
    done = player.run(NEW, "cluster.py")
    assert done.exit_code == 0, done.output
    # What lies in /var/lib/etcd is looked at by us: a filesystem of its own has a lost+found.
    init = f"cp-1: kubeadm init --skip-token-print {CHECKED_BY_US}"
    assert done.decisive == [init, "worker-1: kubeadm join"]


def test_another_clusters_kubeconfig_stops_a_run(player: Player) -> None:
    made = (Command(deploy="cluster.py"),)
    replaced = [Event(what="replaced", machine=host.name) for host in NEW]
    by_bob = (Command(deploy="cluster.py", operator="bob"),)
    before, _, done = player.play(NEW, made, *replaced, by_bob, made)
    refused(done, "another CA certificate", "kubernetes.kubeconfig")
    assert before.exit_code == 0 and done.files.keys() == {"kubernetes.kubeconfig"}


def test_a_kubeconfig_of_an_earlier_cluster_makes_way_for_the_new_one(player: Player) -> None:
    """Else the next run would take the new cluster for another one, if this one ends before it has written its own."""
    made = (Command(deploy="cluster.py"),)
    replaced = [Event(what="replaced", machine=host.name) for host in NEW]
    (before,) = player.play(NEW, made)
    _, done = player.play(NEW, made, *replaced, made)
    assert done.exit_code == 0, done.output
    (aside,) = (name for name in done.files if name.startswith("kubernetes.kubeconfig.before-"))
    assert done.files[aside] == before.files["kubernetes.kubeconfig"]
    assert done.files["kubernetes.kubeconfig"] != done.files[aside]
    assert f"is now {aside}" in done.output


def test_a_cluster_grows_by_control_planes_one_by_one(player: Player) -> None:
    done = player.run(GROWING, "cluster.py")
    assert done.exit_code == 0, done.output
    assert sorted(done.decisive) == JOINED


def test_a_cluster_that_is_well_is_left_alone(player: Player) -> None:
    done = player.run(WELL_OF_THREE, "cluster.py")
    assert (done.exit_code, done.decisive) == (0, []), done.output


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("lost", "@fake/cp-1: could not read cluster settings: the connection was lost"),
        ("reboot", "@fake/cp-1: could not read cluster settings: cannot be reached"),
    ],
)
def test_a_control_plane_that_reboots_when_the_run_has_its_lock_makes_no_second_cluster(
    player: Player, kind: str, said: str
) -> None:
    locked = Fault(run=0, machine="cp-1", what="ClusterSettings", nth=1, kind=kind, again=True)
    done = player.run(GROWING, "cluster.py", faults=[locked])
    refused(done, said)
    assert "Beginning operation run" in done.output


def test_a_control_plane_that_is_lost_after_the_first_change_makes_no_second_cluster(player: Player) -> None:
    changed = Fault(run=0, machine="cp-1", what="KubeadmNode", nth=2, kind="lost", again=True)
    done = player.run(GROWING, "cluster.py", faults=[changed])
    refused(done, "the cluster that was there at the beginning of this run cannot be found any more")
    assert done.changes


@pytest.mark.parametrize("again", [False, True])
def test_a_control_plane_whose_first_reading_fails_makes_no_second_cluster(
    player: Player, again: bool
) -> None:
    done = player.run(GROWING, "cluster.py", faults=[fails("KubeadmNode", again=again)])
    before_operations(done, "@fake/cp-1: could not read kubeadm node: sh: 1: Cannot fork")


def test_a_control_plane_that_cannot_be_reached_makes_no_second_cluster(player: Player) -> None:
    done = player.run(GROWING, "cluster.py", events=[CP_1_STOPS])
    before_operations(done, "no control plane that answers has a cluster, but cp-1 cannot be reached")
    # What others have is enough to go on with.
    done = player.run(WELL_OF_THREE, "cluster.py", events=[CP_1_STOPS])
    assert done.decisive == [], done.output
    assert "Joining | Join the cluster" in done.output


def test_a_control_plane_that_cannot_be_read_any_more_makes_no_second_cluster(player: Player) -> None:
    done = player.run(GROWING, "cluster.py", faults=[fails("KubeadmNode", nth=2)])
    refused(done, "Cannot fork")
    assert "Beginning operation run" in done.output


@pytest.mark.parametrize(
    ("reading", "said"),
    [("ClusterMembers", "cluster members"), ("EtcdMembers", "etcd members"), ("EtcdHealth", "etcd health")],
)
def test_who_is_in_the_cluster_is_not_guessed(player: Player, reading: str, said: str) -> None:
    done = player.run(GROWING, "cluster.py", faults=[fails(reading)])
    refused(done, f"@fake/cp-1: could not read {said}: sh: 1: Cannot fork")


def test_whether_nodes_are_ready_is_not_guessed(player: Player) -> None:
    done = player.run(WELL, "cluster.py", faults=[fails("ClusterHealth")])
    refused(done, "@fake/cp-1: could not read cluster health: sh: 1: Cannot fork")


@pytest.mark.parametrize(
    "hosts",
    [
        machines("member", workers=["member, kubeconfig made anew"]),
        machines("member, kubeconfig made anew", workers=["member"]),
        machines("member", "member", "member, kubeconfig made anew", workers=["member"]),
    ],
    ids=["worker", "only", "third"],
)
def test_a_node_whose_kubeconfig_was_made_anew_is_left_alone(player: Player, hosts: Hosts) -> None:
    done = player.run(hosts, "cluster.py")
    assert (done.exit_code, done.decisive) == (0, []), done.output


def test_a_vote_under_another_address_is_an_error(player: Player) -> None:
    done = player.run(machines("member", "member", "member, moved", workers=["member"]), "cluster.py")
    before_operations(done, "etcd has the member cp-3 at 192.168.0.3, and the inventory has cp-3 at 10.0.0.3")


def test_another_cluster_at_the_inventorys_address_is_not_taken_over(player: Player) -> None:
    done = player.run(machines("member of production"), "cluster.py", "--data=cluster_name=staging")
    before_operations(
        done, "cluster_name is 'staging', and the inventory's machines are the cluster 'production'"
    )


def test_two_clusters_in_one_inventory_are_not_joined(player: Player) -> None:
    done = player.run(machines("member", "member of kubernetes"), "cluster.py")
    before_operations(done, "belong to 2 different clusters")


@pytest.mark.parametrize(("begins", "said"), FOREIGN)
def test_a_foreign_machine_is_not_joined(player: Player, begins: str, said: str) -> None:
    before_operations(player.run(machines("member", workers=[begins]), "cluster.py"), said)


@pytest.mark.parametrize("name", ["etcd", "kube-apiserver"])
def test_a_manifest_that_only_kubeadms_backup_has_is_put_back_before_anything_else(
    player: Player, name: str
) -> None:
    done = player.run(machines(f"member, renamed {name}", workers=["member"]), "cluster.py")
    assert (done.exit_code, done.decisive) == (0, ["cp-1: restore manifest"]), done.output
    assert f"{BACKUP}/{name}.yaml" in done.output


def test_a_manifest_without_a_backup_is_named_and_no_cluster_is_made(player: Player) -> None:
    done = player.run(machines("member, lacks etcd", workers=["member"]), "cluster.py")
    before_operations(done, "/etc/kubernetes/manifests/etcd.yaml is missing", "kubeadm init phase etcd local")
    assert "kubeadm reset" not in done.output


@pytest.mark.parametrize("greeting", ["Welcome", "\nhave:kubelet.conf\n"])
@pytest.mark.parametrize(
    ("hosts", "arguments", "decisive"),
    [
        (NEW, ("preflight.py",), []),
        (NEW, ("reset.py", "--data=confirm=kubernetes"), []),
        (WELL, ("cluster.py",), []),
        # Keys go from one control plane to the next.
        (GROWING, ("cluster.py",), JOINED),
    ],
)
def test_what_a_login_shell_prints_is_no_answer(
    player: Player, hosts: Hosts, arguments: tuple[str, ...], decisive: list[str], greeting: str
) -> None:
    done = player.run(tuple(replace(host, greeting=greeting) for host in hosts), *arguments)
    assert (done.exit_code, sorted(done.decisive)) == (0, decisive), done.output
    assert "Traceback" not in done.output, done.output
