"""``cluster.py`` on simulated machines: faults that it survives, and machines that it leaves alone."""

from dataclasses import replace

import pytest

from tests.simulation.beginning import BACKUP
from tests.simulation.history import Command, Event, Fault
from tests.simulation.scenarios import FOREIGN, Hosts, Player, before_operations, fails, machines, refused

NEW = machines("prepared", workers=["prepared"])
WELL = machines("member", workers=["member"])
WELL_OF_THREE = machines("member", "member", "member", workers=["member"])
GROWING = machines("member", "prepared", "prepared")

CHECKED_BY_PREFLIGHT = "--ignore-preflight-errors=DirAvailable--var-lib-etcd"

JOINED = [f"cp-{number}: kubeadm join {CHECKED_BY_PREFLIGHT}" for number in (2, 3)]

CP_1_STOPS = Event(what="stops", machine="cp-1")


def test_bare_machines_become_a_cluster(player: Player) -> None:
    done = player.run(NEW, "cluster.py")
    assert done.exit_code == 0, done.output
    # Our preflight checks /var/lib/etcd: a separate filesystem there has a lost+found.
    init = f"cp-1: kubeadm init --skip-token-print {CHECKED_BY_PREFLIGHT}"
    assert done.decisive == [init, "worker-1: kubeadm join"]


def test_an_init_whose_etcd_stored_nothing_is_repeated(player: Player) -> None:
    cut = Fault(run=0, machine="cp-1", what="kubeadm init", kind="cut", at=7)
    emptied = Event(what="log emptied", machine="cp-1")
    made = (Command(deploy="cluster.py"),)
    before, done, again = player.play(NEW, made, emptied, made, made, faults=[cut])
    assert before.exit_code == 1, before.output
    assert done.exit_code == 0 and "since this run was prepared" not in done.output, done.output
    assert [change.partition(" --")[0] for change in done.decisive] == [
        "cp-1: clean and keep etcd",
        "cp-1: kubeadm init",
        "worker-1: kubeadm join",
    ]
    assert again.changes == [], again.output


@pytest.mark.parametrize("at", range(1, 18))
def test_an_init_that_loses_power_after_any_of_its_steps_is_finished(player: Player, at: int) -> None:
    cut = Fault(run=0, machine="cp-1", what="kubeadm init", kind="cut", at=at)
    made = (Command(deploy="cluster.py"),)
    before, done, again = player.play(NEW, made, made, made, faults=[cut])
    assert before.exit_code == 1, before.output
    assert done.exit_code == 0 and "worker-1: kubeadm join" in " ".join(done.decisive), done.output
    assert again.changes == [], again.output


def test_another_clusters_kubeconfig_stops_a_run(player: Player) -> None:
    made = (Command(deploy="cluster.py"),)
    replaced = [Event(what="replaced", machine=host.name) for host in NEW]
    by_bob = (Command(deploy="cluster.py", operator="bob"),)
    before, _, done = player.play(NEW, made, *replaced, by_bob, made)
    refused(done, "a different CA certificate", "kubernetes.kubeconfig")
    assert before.exit_code == 0 and done.files.keys() == {"kubernetes.kubeconfig"}


def test_a_kubeconfig_of_an_earlier_cluster_is_moved_aside(player: Player) -> None:
    """Otherwise, if the run stops before it writes the new one, the next run would refuse the cluster."""
    made = (Command(deploy="cluster.py"),)
    replaced = [Event(what="replaced", machine=host.name) for host in NEW]
    (before,) = player.play(NEW, made)
    _, done = player.play(NEW, made, *replaced, made)
    assert done.exit_code == 0, done.output
    (aside,) = (name for name in done.files if name.startswith("kubernetes.kubeconfig.before-"))
    assert done.files[aside] == before.files["kubernetes.kubeconfig"]
    assert done.files["kubernetes.kubeconfig"] != done.files[aside]
    assert aside in done.output


def test_a_cluster_grows_by_control_planes_one_by_one(player: Player) -> None:
    done = player.run(GROWING, "cluster.py")
    assert done.exit_code == 0, done.output
    assert sorted(done.decisive) == JOINED


def test_a_healthy_cluster_is_left_alone(player: Player) -> None:
    done = player.run(WELL_OF_THREE, "cluster.py")
    assert (done.exit_code, done.decisive) == (0, []), done.output


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("lost", "@fake/cp-1: could not read cluster settings: the connection was lost"),
        ("reboot", "@fake/cp-1: could not read cluster settings: cannot be reached"),
    ],
)
def test_no_second_cluster_when_the_control_plane_reboots_after_the_lock(
    player: Player, kind: str, error: str
) -> None:
    locked = Fault(run=0, machine="cp-1", what="ClusterSettings", nth=1, kind=kind, again=True)
    done = player.run(GROWING, "cluster.py", faults=[locked])
    refused(done, error)
    assert "Beginning operation run" in done.output


def test_no_second_cluster_when_the_control_plane_is_lost_after_the_first_change(player: Player) -> None:
    changed = Fault(run=0, machine="cp-1", what="KubeadmNode", nth=2, kind="lost", again=True)
    done = player.run(GROWING, "cluster.py", faults=[changed])
    refused(done, "the cluster that existed when this run began can no longer be found")
    assert done.changes


@pytest.mark.parametrize("again", [False, True])
def test_no_second_cluster_when_the_control_planes_first_reading_fails(player: Player, again: bool) -> None:
    done = player.run(GROWING, "cluster.py", faults=[fails("KubeadmNode", again=again)])
    before_operations(done, "@fake/cp-1: could not read kubeadm node: sh: 1: Cannot fork")


def test_no_second_cluster_when_the_control_plane_cannot_be_reached(player: Player) -> None:
    done = player.run(GROWING, "cluster.py", events=[CP_1_STOPS])
    before_operations(done, "no control plane that answers has a cluster, but cp-1 cannot be reached")
    # If the other control planes have the cluster, the run continues.
    done = player.run(WELL_OF_THREE, "cluster.py", events=[CP_1_STOPS])
    assert done.decisive == [], done.output
    assert "Joining | Join the cluster" in done.output


def test_no_second_cluster_when_the_control_plane_can_no_longer_be_read(player: Player) -> None:
    done = player.run(GROWING, "cluster.py", faults=[fails("KubeadmNode", nth=2)])
    refused(done, "Cannot fork")
    assert "Beginning operation run" in done.output


@pytest.mark.parametrize(
    ("reading", "name"),
    [("ClusterMembers", "cluster members"), ("EtcdMembers", "etcd members"), ("EtcdHealth", "etcd health")],
)
def test_a_run_fails_if_members_cannot_be_read(player: Player, reading: str, name: str) -> None:
    done = player.run(GROWING, "cluster.py", faults=[fails(reading)])
    refused(done, f"@fake/cp-1: could not read {name}: sh: 1: Cannot fork")


def test_a_run_fails_if_readiness_cannot_be_read(player: Player) -> None:
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
def test_a_node_with_a_regenerated_kubeconfig_is_left_alone(player: Player, hosts: Hosts) -> None:
    done = player.run(hosts, "cluster.py")
    assert (done.exit_code, done.decisive) == (0, []), done.output


def test_a_vote_under_another_address_is_an_error(player: Player) -> None:
    done = player.run(machines("member", "member", "member, moved", workers=["member"]), "cluster.py")
    before_operations(done, "etcd has the member cp-3 at 192.168.0.3, but the inventory has cp-3 at 10.0.0.3")


def test_another_cluster_at_the_inventorys_address_is_not_taken_over(player: Player) -> None:
    done = player.run(machines("member of production"), "cluster.py", "--data=cluster_name=staging")
    before_operations(done, "cluster_name is 'staging'", "'production'")


def test_two_clusters_in_one_inventory_are_not_joined(player: Player) -> None:
    done = player.run(machines("member", "member of kubernetes"), "cluster.py")
    before_operations(done, "belong to 2 different clusters")


@pytest.mark.parametrize(("begins", "error"), FOREIGN)
def test_a_foreign_machine_is_not_joined(player: Player, begins: str, error: str) -> None:
    before_operations(player.run(machines("member", workers=[begins]), "cluster.py"), error)


@pytest.mark.parametrize("name", ["etcd", "kube-apiserver"])
def test_a_missing_manifest_is_first_restored_from_kubeadms_backup(player: Player, name: str) -> None:
    done = player.run(machines(f"member, renamed {name}", workers=["member"]), "cluster.py")
    assert (done.exit_code, done.decisive) == (0, ["cp-1: restore manifest"]), done.output
    assert f"{BACKUP}/{name}.yaml" in done.output


def test_a_missing_manifest_without_a_backup_is_reported_and_no_cluster_is_made(player: Player) -> None:
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
        # This run also copies keys between control planes.
        (GROWING, ("cluster.py",), JOINED),
    ],
)
def test_a_login_shells_output_is_ignored(
    player: Player, hosts: Hosts, arguments: tuple[str, ...], decisive: list[str], greeting: str
) -> None:
    done = player.run(tuple(replace(host, greeting=greeting) for host in hosts), *arguments)
    assert (done.exit_code, sorted(done.decisive)) == (0, decisive), done.output
    assert "Traceback" not in done.output, done.output
