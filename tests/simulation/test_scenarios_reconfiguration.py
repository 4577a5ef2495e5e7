"""``cluster.py`` gives the control planes of a live cluster the configuration of the options, or leaves them as they are."""

import json
from typing import Any

import pytest

from tests.simulation.history import Event, Fault
from tests.simulation.live_clusters import NEW, WELL, WELL_OF_THREE, cluster, unchanged
from tests.simulation.scenarios import Ended, Hosts, Player, machines

POLICY = "/etc/kubernetes/audit/policy.yaml"

_VOLUME = {"name": "audit", "hostPath": "/etc/kubernetes/audit", "mountPath": "/etc/kubernetes/audit"}


def extra(*arguments: str, component: str = "apiServer", **fields: Any) -> dict[str, Any]:
    """Return a configuration with arguments like ``profiling=false``."""
    pairs = [argument.partition("=")[::2] for argument in arguments]
    return {component: {"extraArgs": [{"name": name, "value": value} for name, value in pairs], **fields}}


def data(configuration: object, **files: str) -> tuple[str, ...]:
    policy = {POLICY: {"content": files["policy"]}} if files else {}
    return (
        f"--data=cluster_configuration={json.dumps(configuration)}",
        *([f"--data=control_plane_files={json.dumps(policy)}"] if policy else []),
    )


AUDIT = data(extra(f"audit-policy-file={POLICY}", extraVolumes=[_VOLUME]), policy="rules: []")

AUDIT_CHANGED = data(extra(f"audit-policy-file={POLICY}", extraVolumes=[_VOLUME]), policy="rules: [{}]")

PROFILING = data(extra("profiling=false"))


def swaps(done: Ended) -> list[str]:
    return [change for change in done.changes if "swap-static-pod" in change]


@pytest.mark.parametrize("hosts", [WELL, WELL_OF_THREE], ids=["one", "three"])
def test_control_planes_change_one_by_one_and_the_next_run_changes_nothing(
    player: Player, hosts: Hosts
) -> None:
    names = [host.name for host in hosts if host.control_plane]
    changed, again, back, end = player.play(hosts, cluster(*AUDIT), cluster(*AUDIT), cluster(), cluster())
    for done in (changed, back):
        assert done.exit_code == 0, done.output
        assert [change.split()[0] for change in swaps(done)] == [f"{name}:" for name in names]
        assert done.decisive[-1] == "cp-1: kubeadm init phase upload-config kubeadm"
    unchanged(again)
    unchanged(end)


def test_a_new_cluster_has_it_from_the_start(player: Player) -> None:
    done, again = player.play(NEW, cluster(*AUDIT), cluster(*AUDIT))
    assert done.exit_code == 0 and not swaps(done), done.output
    unchanged(again)


def test_a_control_plane_that_joins_has_it_from_the_start(player: Player) -> None:
    done, again = player.play(machines("member", "prepared"), cluster(*AUDIT), cluster(*AUDIT))
    assert done.exit_code == 0 and [change.split()[0] for change in swaps(done)] == ["cp-1:"], done.output
    unchanged(again)


def test_another_content_of_a_file_restarts_what_reads_it(player: Player) -> None:
    _, done, again = player.play(WELL, cluster(*AUDIT), cluster(*AUDIT_CHANGED), cluster(*AUDIT_CHANGED))
    assert len(swaps(done)) == 1, done.output
    unchanged(again)


def test_an_argument_that_does_not_exist_changes_nothing(player: Player) -> None:
    done, again = player.play(WELL_OF_THREE, cluster(*data(extra("unknown=1"))), cluster())
    assert done.exit_code == 1 and done.decisive == [], done.output
    assert "unknown flag: --unknown=1" in done.output and "nothing was changed" in done.output
    assert again.exit_code == 0 and again.decisive == [], again.output


def test_what_does_not_start_is_put_back_and_the_others_are_not_touched(player: Player) -> None:
    done, again, end = player.play(WELL_OF_THREE, cluster(*data(extra("crashes=1"))), cluster(), cluster())
    assert done.exit_code == 1 and [change.split()[0] for change in swaps(done)] == ["cp-1:"], done.output
    assert "said last: crashed" in done.output and "the old manifest was put back" in done.output
    assert "upload-config" not in " ".join(done.changes)
    assert again.exit_code == 0 and not swaps(again), again.output
    unchanged(end)


@pytest.mark.parametrize("back", [False, True], ids=["corrected", "taken back"])
def test_two_failed_changes_are_corrected_or_taken_back(player: Player, back: bool) -> None:
    fault = Fault(run=0, machine="cp-2", what="swap-static-pod", kind="fails")
    crashes = data(extra("profiling=false", "crashes=1"))
    then = () if back else data(extra("v=3"))
    first, second, done, again = player.play(
        WELL_OF_THREE, cluster(*PROFILING), cluster(*crashes), cluster(*then), cluster(*then), faults=[fault]
    )
    assert (first.exit_code, second.exit_code) == (1, 1), second.output
    assert "cp-1: kube-apiserver was not changed" in second.output, second.output
    assert done.exit_code == 0, done.output
    assert len(swaps(done)) == (1 if back else 3), done.output
    unchanged(again)


def test_a_run_with_limit_names_the_difference_and_leaves_it(player: Player) -> None:
    done, again = player.play(WELL_OF_THREE, cluster(*PROFILING, "--limit=@fake/cp-1"), cluster(*PROFILING))
    assert done.exit_code == 0 and done.decisive == [], done.output
    assert "apiServer.extraArgs profiling" in done.output and "run it without --limit" in done.output
    assert len(swaps(again)) == 3, again.output


def test_while_a_control_plane_is_down_nothing_is_changed(player: Player) -> None:
    done = player.run(WELL_OF_THREE, "cluster.py", *PROFILING, events=[Event(what="stops", machine="cp-3")])
    assert not swaps(done), done.output


SANS = ("--data=certificate_sans=k8s.example.com,203.0.113.7",)


def renewals(done: Ended) -> list[str]:
    return [change.partition(":")[0] for change in done.changes if "renew-api-certificate" in change]


@pytest.mark.parametrize("hosts", [WELL, WELL_OF_THREE], ids=["one", "three"])
def test_certificates_get_other_names_without_a_restart(player: Player, hosts: Hosts) -> None:
    changed, again, back, end = player.play(hosts, cluster(*SANS), cluster(*SANS), cluster(), cluster())
    for done in (changed, back):
        assert done.exit_code == 0 and not swaps(done), done.output
        assert renewals(done) == [host.name for host in hosts if host.control_plane]
    unchanged(again)
    unchanged(end)


@pytest.mark.parametrize("kind", ["killed", "killed before", "fails", "lost"])
@pytest.mark.parametrize("back", [False, True], ids=["goes on", "taken back"])
def test_a_renewal_that_stops_is_finished_or_taken_back(player: Player, kind: str, back: bool) -> None:
    fault = Fault(run=0, machine="cp-2", what="renew-api-certificate", kind=kind)
    then = () if back else SANS
    _, done, again = player.play(
        WELL_OF_THREE, cluster(*SANS), cluster(*then), cluster(*then), faults=[fault]
    )
    assert done.exit_code == 0 and renewals(done) == ["cp-1", "cp-2", "cp-3"], done.output
    unchanged(again)


@pytest.mark.parametrize("hosts", [WELL, WELL_OF_THREE], ids=["one", "three"])
@pytest.mark.parametrize("kind", ["cut", "reboot"])
@pytest.mark.parametrize("back", [False, True], ids=["goes on", "taken back"])
def test_a_certificate_without_its_place_beside_the_new_key_is_put_in_first(
    player: Player, hosts: Hosts, kind: str, back: bool
) -> None:
    last = [host.name for host in hosts if host.control_plane][-1]
    fault = Fault(run=0, machine=last, what="renew-api-certificate", kind=kind, at=1)
    then = () if back else SANS
    _, done, again = player.play(hosts, cluster(*SANS), cluster(*then), cluster(*then), faults=[fault])
    assert done.exit_code == 0 and f"{last}: finish-api-certificate" in done.changes, done.output
    unchanged(again)


STEPS = ("manifest out", "manifest in", "healthy")


@pytest.mark.parametrize("kind", ["cut", "reboot", "killed"])
@pytest.mark.parametrize("at", range(1, len(STEPS) + 1))
@pytest.mark.parametrize("hosts", [WELL, WELL_OF_THREE], ids=["one", "three"])
def test_a_swap_that_is_cut_off_is_finished_by_the_next_run(
    player: Player, hosts: Hosts, at: int, kind: str
) -> None:
    last = [host.name for host in hosts if host.control_plane][-1]
    fault = Fault(run=0, machine=last, what="swap-static-pod", kind=kind, at=at)
    _, done, again = player.play(
        hosts, cluster(*PROFILING), cluster(*PROFILING), cluster(*PROFILING), faults=[fault]
    )
    assert done.exit_code == 0, done.output
    unchanged(again)


@pytest.mark.parametrize(
    ("what", "nth"),
    [
        *(("write record", 0), ("write record", 1), ("render-static-pods", 0), ("try-arguments", 0)),
        ("kubeadm init phase upload-config kubeadm", 0),
    ],
)
@pytest.mark.parametrize("kind", ["killed", "killed before", "fails", "lost"])
@pytest.mark.parametrize("back", [False, True], ids=["goes on", "taken back"])
def test_a_run_that_stops_anywhere_is_finished_or_taken_back(
    player: Player, what: str, nth: int, kind: str, back: bool
) -> None:
    fault = Fault(run=0, machine="cp-1", what=what, kind=kind, nth=nth)
    then = () if back else PROFILING
    _, done, again = player.play(
        WELL_OF_THREE, cluster(*PROFILING), cluster(*then), cluster(*then), faults=[fault]
    )
    assert done.exit_code == 0, done.output
    unchanged(again)
