"""``cluster.py`` gives the control planes of a live cluster the configuration of the options, or leaves them as they are."""

import json
from typing import Any

import pytest

from tests.simulation.history import Command, Event, Fault
from tests.simulation.scenarios import Ended, Hosts, Player, fails, machines

NEW = machines("prepared", workers=["prepared"])
WELL = machines("member", workers=["member"])
WELL_OF_THREE = machines("member", "member", "member", workers=["member"])

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


def cluster(*arguments: str) -> tuple[Command, ...]:
    return (Command(deploy="cluster.py", arguments=arguments),)


def pods(number: int, **fields: Any) -> tuple[str, ...]:
    return (f"--data=kubelet_configuration={json.dumps({'maxPods': number, **fields})}",)


def restarts(done: Ended) -> list[str]:
    return [change.partition(":")[0] for change in done.changes if "swap-kubelet-configuration" in change]


def swaps(done: Ended) -> list[str]:
    return [change for change in done.changes if "swap-static-pod" in change]


def unchanged(done: Ended) -> None:
    assert (done.exit_code, done.changes) == (0, []), done.output


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


def test_two_failed_changes_of_kubelets_are_taken_back(player: Player) -> None:
    fault = Fault(run=0, machine="worker-1", what="swap-kubelet-configuration", kind="fails")
    pids = ('--data=kubelet_configuration={"podPidsLimit": 100, "maxPods": -5}',)
    first, second, done, again = player.play(
        WELL, cluster(*pods(50)), cluster(*pids), cluster(), cluster(), faults=[fault]
    )
    assert (first.exit_code, second.exit_code) == (1, 1), second.output
    assert done.exit_code == 0 and restarts(done) == ["cp-1"], done.output
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
    assert (done.exit_code, turns(done)) == (1, []), done.output
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
    assert ("worker-1" in restarts(done)) == (back or (kind, at) == ("cut", 1)), done.output
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
    assert again.exit_code == 0, again.output
    unchanged(end)


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
@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("back", [False, True], ids=["goes on", "taken back"])
def test_a_change_of_kube_proxy_that_is_cut_off_is_finished_or_taken_back(
    player: Player, at: int, kind: str, back: bool
) -> None:
    fault = Fault(run=0, machine="cp-1", what="roll-kube-proxy", kind=kind, at=at)
    wanted = proxy("nftables")
    then = () if back else wanted
    _, done, again = player.play(WELL, cluster(*wanted), cluster(*then), cluster(*then), faults=[fault])
    assert done.exit_code == 0, done.output
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
