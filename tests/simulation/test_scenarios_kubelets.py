"""``cluster.py`` gives the kubelets of a live cluster the configuration of the options, on drained nodes where they need it."""

import pytest

from tests.simulation.history import Event, Fault
from tests.simulation.live_clusters import NEW, WELL, WELL_OF_THREE, cluster, pods, restarts, unchanged
from tests.simulation.scenarios import Ended, Hosts, Player, fails

UPLOAD_KUBELET = "cp-1: kubeadm init phase upload-config kubelet"


@pytest.mark.parametrize("hosts", [WELL, WELL_OF_THREE], ids=["one", "three"])
def test_kubelets_change_one_by_one_and_the_next_run_changes_nothing(player: Player, hosts: Hosts) -> None:
    changed, again, back, end = player.play(
        hosts, cluster(*pods(50)), cluster(*pods(50)), cluster(), cluster()
    )
    for done in (changed, back):
        assert done.exit_code == 0, done.output
        assert restarts(done) == [host.name for host in hosts]
        assert done.decisive[-1] == UPLOAD_KUBELET
    unchanged(again)
    unchanged(end)


def test_a_new_cluster_has_its_kubelets_configuration_from_the_start(player: Player) -> None:
    done, again = player.play(NEW, cluster(*pods(50)), cluster(*pods(50)))
    assert done.exit_code == 0 and not restarts(done), done.output
    unchanged(again)


def test_a_kubelet_that_does_not_come_up_ends_the_run(player: Player) -> None:
    done, again, end = player.play(WELL_OF_THREE, cluster(*pods(-5)), cluster(), cluster())
    assert done.exit_code == 1 and restarts(done) == ["cp-1"], done.output
    assert "it said last: invalid maxPods" in done.output and UPLOAD_KUBELET not in done.changes
    assert again.exit_code == 0 and restarts(again) == [], again.output
    unchanged(end)


def test_two_failed_changes_of_kubelets_are_taken_back(player: Player) -> None:
    fault = Fault(run=0, machine="worker-1", what="swap-kubelet-configuration", kind="fails")
    pids = ('--data=kubelet_configuration={"podPidsLimit": 100, "maxPods": -5}',)
    first, second, done, again = player.play(
        WELL, cluster(*pods(50)), cluster(*pids), cluster(), cluster(), faults=[fault]
    )
    assert (first.exit_code, second.exit_code) == (1, 1), second.output
    assert done.exit_code == 0 and restarts(done) == ["cp-1"], done.output
    unchanged(again)


def test_a_field_that_kubeadm_does_not_know_changes_nothing(player: Player) -> None:
    done = player.run(WELL, "cluster.py", '--data=kubelet_configuration={"unknownField": 1}')
    # kubeadm only looks at the document.
    assert (done.exit_code, done.decisive) == (1, ["cp-1: kubeadm config validate"]), done.output
    assert 'unknown field "unknownField"' in done.output and "nothing was changed" in done.output


def test_another_resolver_file_is_taken_back_for_ours(player: Player) -> None:
    own = ('--data=kubelet_configuration={"resolvConf": "/etc/own"}',)
    done, again, back, end = player.play(WELL, cluster(*own), cluster(*own), cluster(), cluster())
    assert restarts(done) == restarts(back) == ["cp-1", "worker-1"], back.output
    unchanged(again)
    unchanged(end)


STATIC = ('--data=kubelet_configuration={"cpuManagerPolicy": "static"}',)

MAY_DRAIN = "--data=allow_drain=true"

TURN = ["annotate", "drain", "swap-kubelet-configuration", "uncordon", "annotate"]


def turns(done: Ended) -> list[str]:
    """Return the changes of a run that drain, change and release nodes."""
    verbs = [change.partition(": ")[2] for change in done.changes]
    return [verb for verb in verbs if verb in TURN]


def test_what_needs_a_drained_node_is_named_and_left(player: Player) -> None:
    done, again = player.play(WELL, cluster(*STATIC), cluster(*STATIC))
    assert (done.exit_code, done.decisive) == (0, []), done.output
    assert "cpuManagerPolicy" in done.output and "allow_drain=true" in done.output
    unchanged(again)


@pytest.mark.parametrize("hosts", [WELL, WELL_OF_THREE], ids=["one", "three"])
def test_nodes_are_drained_one_by_one_if_that_is_allowed(player: Player, hosts: Hosts) -> None:
    done, again, back, end = player.play(
        hosts, cluster(*STATIC, MAY_DRAIN), cluster(*STATIC), cluster(MAY_DRAIN), cluster()
    )
    for changed in (done, back):
        assert changed.exit_code == 0 and turns(changed) == TURN * len(hosts), changed.output
        assert changed.decisive[-1] == UPLOAD_KUBELET
        assert "this run drains" in changed.output and "without --data allow_drain" not in changed.output
    unchanged(again)
    unchanged(end)


def test_other_fields_drain_no_node(player: Player) -> None:
    done = player.run(WELL, "cluster.py", *pods(50), MAY_DRAIN)
    assert turns(done) == ["swap-kubelet-configuration"] * 2, done.output


def test_a_node_that_somebody_has_cordoned_stays_so(player: Player) -> None:
    cordoned = Event(what="cordoned", machine="worker-1")
    (done,) = player.play(WELL, cordoned, cluster(*STATIC, MAY_DRAIN))
    assert turns(done) == [*TURN, "drain", "swap-kubelet-configuration"], done.output


def test_a_node_that_is_not_drained_or_whose_kubelet_fails_takes_pods_again(player: Player) -> None:
    (done,) = player.play(WELL, cluster(*STATIC, MAY_DRAIN), faults=[fails("drain")])
    assert (done.exit_code, turns(done)) == (1, ["annotate", "uncordon", "annotate"]), done.output
    assert "cp-1: was not drained" in done.output
    (done,) = player.play(WELL, cluster(*pods(-5, cpuManagerPolicy="static"), MAY_DRAIN))
    assert (done.exit_code, turns(done)) == (1, TURN), done.output
    assert "invalid maxPods" in done.output


def test_a_drain_that_was_killed_and_then_fails_leaves_no_node_cordoned(player: Player) -> None:
    killed = Fault(run=0, machine="cp-1", what="drain", kind="killed after")
    fails_then = Fault(run=1, machine="cp-1", what="drain", kind="fails")
    wanted = cluster(*STATIC, MAY_DRAIN)
    _, failed, done = player.play(WELL, wanted, wanted, wanted, faults=[killed, fails_then])
    assert (failed.exit_code, turns(failed)) == (1, ["uncordon", "annotate"]), failed.output
    assert (done.exit_code, turns(done)) == (0, TURN * 2), done.output


@pytest.mark.parametrize(("nth", "then"), [(0, STATIC), (1, ())], ids=["not begun", "half done"])
def test_without_allow_drain_a_node_that_a_killed_run_has_cordoned_takes_pods_again(
    player: Player, nth: int, then: tuple[str, ...]
) -> None:
    fault = Fault(run=0, machine="cp-1", what="drain", kind="killed after", nth=nth)
    _, done, again = player.play(
        WELL, cluster(*STATIC, MAY_DRAIN), cluster(*then), cluster(*then), faults=[fault]
    )
    assert turns(done) == ["uncordon", "annotate"], done.output
    assert f"{('cp-1', 'worker-1')[nth]}: takes pods again" in done.output
    assert "allow_drain=true" in done.output and turns(again) == [], again.output


@pytest.mark.parametrize("kind", ["cut", "reboot", "killed before", "killed after"])
@pytest.mark.parametrize("at", range(len(TURN)))
@pytest.mark.parametrize("back", [False, True], ids=["goes on", "taken back"])
def test_a_drained_nodes_change_that_is_cut_off_is_finished_or_taken_back(
    player: Player, at: int, kind: str, back: bool
) -> None:
    machine = "worker-1" if TURN[at].startswith("swap") else "cp-1"
    # The first turn is cp-1's; a script has more steps than one.
    fault = Fault(run=0, machine=machine, what=TURN[at], kind=kind, nth=at // 4, at=1)
    then = () if back else STATIC
    _, done, again = player.play(
        WELL, cluster(*STATIC, MAY_DRAIN), cluster(*then, MAY_DRAIN), cluster(*then), faults=[fault]
    )
    assert done.exit_code == 0, done.output
    unchanged(again)


def test_an_unfinished_change_that_needs_a_drained_node_says_so(player: Player) -> None:
    fault = Fault(run=0, machine="worker-1", what="swap-kubelet-configuration", kind="killed before")
    _, done, end = player.play(
        WELL, cluster(*STATIC, MAY_DRAIN), cluster(), cluster(MAY_DRAIN), faults=[fault]
    )
    # The killed run has drained worker-1.
    assert (done.exit_code, turns(done)) == (1, ["uncordon", "annotate"]), done.output
    assert "allow_drain=true" in done.output and "cp-1" in done.output
    assert end.exit_code == 0, end.output


def test_a_kubelet_that_is_not_part_of_the_run_keeps_its_configuration(player: Player) -> None:
    done, again = player.play(WELL, cluster(*pods(50), "--limit=@fake/cp-1"), cluster(*pods(50)))
    assert done.exit_code == 0 and not restarts(done), done.output
    assert "kubelet_configuration maxPods" in done.output and "run it without --limit" in done.output
    assert restarts(again) == ["cp-1", "worker-1"], again.output


@pytest.mark.parametrize("kind", ["cut", "reboot", "killed"])
@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("back", [False, True], ids=["goes on", "taken back"])
def test_a_kubelets_change_that_is_cut_off_is_finished_or_taken_back(
    player: Player, at: int, kind: str, back: bool
) -> None:
    fault = Fault(run=0, machine="worker-1", what="swap-kubelet-configuration", kind=kind, at=at)
    then = () if back else pods(50)
    _, done, again = player.play(WELL, cluster(*pods(50)), cluster(*then), cluster(*then), faults=[fault])
    assert done.exit_code == 0, done.output
    # Otherwise the kubelet's file and process are already those of the options.
    assert ("worker-1" in restarts(done)) == back, done.output
    unchanged(again)


@pytest.mark.parametrize("kind", ["cut", "reboot"])
@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("hosts", [WELL, WELL_OF_THREE], ids=["one", "three"])
@pytest.mark.parametrize("policy", [{}, {"cpuManagerPolicy": "static"}], ids=["undrained", "drained"])
def test_a_kubelet_that_was_cut_off_with_a_wrong_value_gets_its_old_configuration(
    player: Player, hosts: Hosts, at: int, kind: str, policy: dict[str, str]
) -> None:
    fault = Fault(run=0, machine="cp-1", what="swap-kubelet-configuration", kind=kind, at=at)
    wrong = cluster(*pods(-5, **policy), MAY_DRAIN)
    cut, same, done, again = player.play(
        hosts, wrong, wrong, cluster(*pods(50), MAY_DRAIN), cluster(*pods(50)), faults=[fault]
    )
    assert (cut.exit_code, same.exit_code) == (1, 1), same.output
    assert "it said last: invalid maxPods" in same.output, same.output
    assert (done.exit_code, restarts(done)) == (0, [host.name for host in hosts]), done.output
    unchanged(again)


@pytest.mark.parametrize(
    ("what", "nth"),
    [
        ("write record", 0),
        ("write record", 1),
        ("read-kubelet-configuration", 0),
        ("kubeadm config validate", 0),
        ("kubeadm init phase upload-config kubelet", 0),
    ],
)
@pytest.mark.parametrize("kind", ["killed", "killed before", "fails", "lost"])
@pytest.mark.parametrize("back", [False, True], ids=["goes on", "taken back"])
def test_a_run_that_stops_anywhere_around_the_kubelets_is_finished_or_taken_back(
    player: Player, what: str, nth: int, kind: str, back: bool
) -> None:
    fault = Fault(run=0, machine="cp-1", what=what, kind=kind, nth=nth)
    then = () if back else pods(50)
    _, done, again = player.play(
        WELL_OF_THREE, cluster(*pods(50)), cluster(*then), cluster(*then), faults=[fault]
    )
    assert done.exit_code == 0, done.output
    unchanged(again)
