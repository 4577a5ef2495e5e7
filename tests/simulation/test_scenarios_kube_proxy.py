"""``cluster.py`` gives the kube-proxies of a live cluster the configuration of the options, or leaves them as they are."""

import json
from typing import Any

import pytest

from tests.simulation.history import Event, Fault
from tests.simulation.live_clusters import NEW, WELL, WELL_OF_THREE, cluster, pods, unchanged
from tests.simulation.scenarios import Ended, Hosts, Player


def proxy(mode: str, **fields: Any) -> tuple[str, ...]:
    return (f"--data=kube_proxy_configuration={json.dumps({'mode': mode, **fields})}",)


def rolls(done: Ended) -> int:
    return sum("roll-kube-proxy" in change for change in done.changes)


@pytest.mark.parametrize("hosts", [WELL, WELL_OF_THREE], ids=["one", "three"])
def test_kube_proxy_changes_and_the_next_run_changes_nothing(player: Player, hosts: Hosts) -> None:
    wanted = proxy("nftables")
    changed, again, back, end = player.play(hosts, cluster(*wanted), cluster(*wanted), cluster(), cluster())
    for done in (changed, back):
        assert (done.exit_code, rolls(done)) == (0, 1), done.output
    unchanged(again)
    unchanged(end)


def test_a_new_cluster_has_its_kube_proxies_configuration_from_the_start(player: Player) -> None:
    done, again, back = player.play(NEW, cluster(*proxy("nftables")), cluster(*proxy("nftables")), cluster())
    assert (done.exit_code, rolls(done)) == (0, 0), done.output
    unchanged(again)
    assert rolls(back) == 1, back.output


def test_kube_proxy_comes_after_the_kubelets(player: Player) -> None:
    done, again = player.play(
        WELL, cluster(*proxy("nftables"), *pods(50)), cluster(*proxy("nftables"), *pods(50))
    )
    both = [change for change in done.changes if "swap-kubelet" in change or "roll-kube-proxy" in change]
    assert both == [
        "cp-1: swap-kubelet-configuration",
        "worker-1: swap-kubelet-configuration",
        "cp-1: roll-kube-proxy",
    ]
    unchanged(again)


def test_a_kube_proxy_that_does_not_run_gets_its_configuration_back(player: Player) -> None:
    done, again, end = player.play(WELL, cluster(*proxy("crashes")), cluster(), cluster())
    assert done.exit_code == 1 and "worker-1 said last: unknown mode" in done.output, done.output
    assert (again.exit_code, rolls(again)) == (0, 0), again.output
    unchanged(end)


def test_what_stops_before_any_change_is_no_unfinished_change(player: Player) -> None:
    says = "kube-proxy does not run on every node; nothing was changed"
    fault = Fault(run=0, machine="cp-1", what="roll-kube-proxy", kind="fails", says=says)
    stopped, done = player.play(WELL, cluster(*proxy("nftables")), cluster(), faults=[fault])
    assert stopped.exit_code == 1 and says in stopped.output, stopped.output
    # Nothing is left over: the next run has nothing to finish.
    assert (done.exit_code, rolls(done)) == (0, 0), done.output


def test_a_field_that_kube_proxy_does_not_know_changes_nothing(player: Player) -> None:
    done = player.run(WELL, "cluster.py", *proxy("nftables", unknownField=1))
    assert (done.exit_code, done.decisive) == (1, ["cp-1: kubeadm config validate"]), done.output
    assert 'unknown field "unknownField"' in done.output and "nothing was changed" in done.output


def test_kube_proxy_stays_in_a_run_with_limit(player: Player) -> None:
    wanted = proxy("nftables")
    done, again = player.play(WELL, cluster(*wanted, "--limit=@fake/cp-1"), cluster(*wanted))
    assert (done.exit_code, rolls(done)) == (0, 0), done.output
    assert "kube_proxy_configuration mode" in done.output and "worker-1" in done.output
    assert rolls(again) == 1, again.output


def test_an_edit_of_kube_proxys_configuration_stops_the_run(player: Player) -> None:
    edited = Event(what="kube-proxy edited", machine="cp-1")
    _, refused, done, again = player.play(
        WELL,
        cluster(*proxy("nftables")),
        edited,
        cluster(*proxy("nftables")),
        cluster(*proxy("nftables"), "--data=discard_edits=true"),
        cluster(*proxy("nftables")),
    )
    assert refused.exit_code == 1 and refused.decisive == [], refused.output
    assert "mode is 'ipvs'" in refused.output and "discard_edits=true" in refused.output
    assert (done.exit_code, rolls(done)) == (0, 1), done.output
    unchanged(again)


@pytest.mark.parametrize("kind", ["cut", "reboot", "killed before", "killed after", "fails", "lost"])
@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("back", [False, True], ids=["goes on", "taken back"])
def test_a_change_of_kube_proxy_that_is_cut_off_is_finished_or_taken_back(
    player: Player, at: int, kind: str, back: bool
) -> None:
    fault = Fault(run=0, machine="cp-1", what="roll-kube-proxy", kind=kind, at=at)
    wanted = proxy("nftables")
    then = () if back else wanted
    _, done, again = player.play(WELL, cluster(*wanted), cluster(*then), cluster(*then), faults=[fault])
    # The ConfigMap does not show whether the pods have it.
    assert (done.exit_code, rolls(done)) == (0, 1), done.output
    unchanged(again)


def test_a_change_that_was_recorded_and_never_begun_still_needs_that_all_kube_proxies_run(
    player: Player,
) -> None:
    fault = Fault(run=0, machine="cp-1", what="roll-kube-proxy", kind="killed before")
    wanted = cluster(*proxy("nftables"))
    crashes, runs = (Event(what=f"kube-proxy {what}", machine="cp-1") for what in ("crashes", "runs"))
    _, stopped, done, again = player.play(WELL, wanted, crashes, wanted, runs, wanted, wanted, faults=[fault])
    assert stopped.exit_code == 1 and "does not run on every node; nothing was changed" in stopped.output
    assert (done.exit_code, rolls(done)) == (0, 1), done.output
    unchanged(again)


@pytest.mark.parametrize(
    ("what", "nth"), [("write record", 0), ("write record", 1), ("kubeadm config validate", 0)]
)
@pytest.mark.parametrize("kind", ["killed", "killed before", "fails", "lost"])
@pytest.mark.parametrize("back", [False, True], ids=["goes on", "taken back"])
def test_a_run_that_stops_anywhere_around_kube_proxy_is_finished_or_taken_back(
    player: Player, what: str, nth: int, kind: str, back: bool
) -> None:
    fault = Fault(run=0, machine="cp-1", what=what, kind=kind, nth=nth)
    then = () if back else proxy("nftables")
    _, done, again = player.play(
        WELL_OF_THREE, cluster(*proxy("nftables")), cluster(*then), cluster(*then), faults=[fault]
    )
    assert done.exit_code == 0, done.output
    unchanged(again)
