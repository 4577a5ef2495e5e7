"""What changes in the configuration of a live cluster's kubelets, what is taken back, and what is refused."""

import base64
import json
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from kubeadm_deploys.cluster.document_fields import changed, edits, names_of, with_values
from kubeadm_deploys.cluster.kubelet_turns import CONFIGURATION_FILE, Turn
from kubeadm_deploys.cluster.live_kubelet import findings, wanted_fields
from kubeadm_deploys.cluster.reconfiguring import Stopped
from kubeadm_deploys.documents.cluster_record import RecordedConfiguration
from kubeadm_deploys.documents.kubeadm_documents import RESOLVER_FILE
from kubeadm_deploys.facts.cluster_members import ClusterMembersState, RegisteredNode
from kubeadm_deploys.model.findings import Severity
from kubeadm_deploys.model.nodes import Node
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.remote import direct
from kubeadm_deploys.sections import kubelet_reconfiguration
from kubeadm_deploys.sections.kubelet_reconfiguration import wanted_of
from tests.support.cluster_settings import KUBELET, answer, record, settings_of
from tests.support.document_options import options_with

SETTINGS = settings_of(answer(record=record()))
NAMES = ("cp-1", "worker-1", "worker-2")
EVICTION = {"evictionHard": {"memory.available": "100Mi", "nodefs.available": "5%"}}


def test_fields_are_named_by_their_path() -> None:
    assert names_of({"maxPods": 50, **EVICTION, "cgroupDriver": "systemd", "featureGates": {}}) == {
        "maxPods",
        "evictionHard/memory.available",
        "evictionHard/nodefs.available",
        "featureGates",
    }


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"syncFrequency": "90s"}, {"syncFrequency": "1m30s"}),
        ({"readOnlyPort": 0, "featureGates": {}}, {}),
        ({"cgroupDriver": "cgroupfs"}, {"cgroupDriver": "systemd"}),
        (EVICTION, {"evictionHard": {**EVICTION["evictionHard"], "imagefs.available": "5%"}}),
    ],
)
def test_what_means_the_same_does_not_differ(wanted: dict[str, Any], found: dict[str, Any]) -> None:
    assert changed({**KUBELET, **found}, wanted=wanted, claimed=()) == {}


def test_changes_are_made_and_taken_back_without_a_trace() -> None:
    wanted = {"maxPods": 50, **EVICTION}
    values = changed(KUBELET, wanted=wanted, claimed=())
    new = with_values(KUBELET, values)
    assert new == {**KUBELET, **wanted}
    assert changed(new, wanted=wanted, claimed=names_of(wanted)) == {}
    back = changed(new, wanted={}, claimed=names_of(wanted))
    assert with_values(new, back) == KUBELET
    # What others have set stays.
    assert changed({**KUBELET, "podPidsLimit": 100}, wanted={}, claimed=names_of(wanted)) == {}


def test_a_value_that_only_a_nodes_file_has_is_an_edit() -> None:
    values = {"maxPods": 50}
    assert edits({**KUBELET, "maxPods": 60}, values, KUBELET) == ["maxPods is 60"]
    for current in (None, 50, 40):
        assert edits({**KUBELET, "maxPods": current}, values, KUBELET, {"maxPods": 40}) == []


def test_what_several_failed_runs_may_have_changed_is_taken_back() -> None:
    first, second = {**KUBELET, "maxPods": 50}, {**KUBELET, "podPidsLimit": 100}
    wanted = wanted_of(
        ClusterOptions(),
        found=KUBELET,
        cluster={},
        recorded=RecordedConfiguration(
            kubelet_names=frozenset({"maxPods", "podPidsLimit"}), kubelet_pending=(first, second)
        ),
    )
    assert wanted.values == {"maxPods": None, "podPidsLimit": None}
    assert wanted.configuration == KUBELET


def test_a_change_that_an_earlier_run_has_left_running_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    configuration = base64.b64encode(json.dumps(KUBELET).encode()).decode()

    def run(machine: object, command: object) -> tuple[bool, object]:
        done.append("read")
        return True, SimpleNamespace(stdout_lines=[f"configuration {configuration}"], stderr="")

    monkeypatch.setattr(kubelet_reconfiguration, "wait_for_kubeadm", lambda machine: done.append("waited"))
    monkeypatch.setattr(direct, "run", run)
    machine: Any = SimpleNamespace(name="worker-1")
    assert kubelet_reconfiguration._read(machine) == (KUBELET, False)
    assert done == ["waited", "read"]


PENDING = RecordedConfiguration(kubelet_pending=({**KUBELET, "maxPods": 50},))


def turn(name: str, *, changes: bool) -> Turn:
    node = Node(host=name, name=name, ip="10.0.0.9", address=name)
    return Turn(node=node, file=CONFIGURATION_FILE, content="", changes=changes, drained=False, fix="")


@pytest.mark.parametrize(
    ("recorded", "max_pods", "ready", "stops"),
    [
        pytest.param(PENDING, 50, {"worker-1": False}, True, id="changed and not Ready"),
        pytest.param(PENDING, 50, {}, False, id="changed and Ready"),
        pytest.param(PENDING, 50, {"worker-2": False}, False, id="not changed yet"),
        pytest.param(PENDING, 50, dict.fromkeys(NAMES, False), False, id="no pod network"),
        pytest.param(PENDING, None, {"worker-1": False}, False, id="taken back"),
        pytest.param(RecordedConfiguration(), 50, {"worker-1": False}, False, id="nothing unfinished"),
    ],
)
def test_no_further_kubelet_is_changed_while_a_changed_one_is_not_ready(
    recorded: RecordedConfiguration, max_pods: int | None, ready: dict[str, bool], stops: bool
) -> None:
    options = ClusterOptions(kubelet_configuration={"maxPods": max_pods} if max_pods else {})
    wanted = wanted_of(options, found=KUBELET, cluster={}, recorded=recorded)
    nodes = {name: RegisteredNode(machine_id=name, ready=ready.get(name, True)) for name in NAMES}
    turns = [turn("worker-1", changes=False), turn("worker-2", changes=True)]
    with pytest.raises(Stopped, match="worker-1: is not Ready") if stops else nullcontext():
        kubelet_reconfiguration._refuse_to_go_on(turns, ClusterMembersState(nodes=nodes), wanted)


@pytest.mark.parametrize(
    ("nameservers", "recorded", "value"),
    [
        ((), (), "unchanged"),
        (("10.0.0.53",), (), RESOLVER_FILE),
        # The options had another file, or nameservers, before.
        ((), ("resolvConf",), RESOLVER_FILE),
    ],
)
def test_kubelets_get_our_resolver_file_only_for_nameservers_or_back(
    nameservers: tuple[str, ...], recorded: tuple[str, ...], value: str
) -> None:
    before = RecordedConfiguration(kubelet_names=frozenset(recorded))
    for found in ("/etc/resolv.conf", RESOLVER_FILE):
        wanted = wanted_of(
            ClusterOptions(nameservers=nameservers),
            found={**KUBELET, "resolvConf": found},
            cluster={},
            recorded=before,
        )
        assert wanted.values.get("resolvConf", "unchanged") in (value, "unchanged")
        assert wanted.configuration["resolvConf"] == (found if value == "unchanged" else value)
        assert wanted.names == ({"resolvConf"} if value != "unchanged" else set())
    own = ClusterOptions(nameservers=nameservers, kubelet_configuration={"resolvConf": "/etc/own"})
    assert wanted_fields(own, before)["resolvConf"] == "/etc/own"


def test_policies_that_need_a_drained_node_are_a_warning() -> None:
    options = ClusterOptions(kubelet_configuration={"cpuManagerPolicy": "static", "maxPods": 50})
    (finding,) = findings(options, SETTINGS, allow_drain=False)
    assert finding.severity is Severity.WARNING and "allow_drain=true" in finding.fix
    assert "cpuManagerPolicy differs" in finding.found and "maxPods" not in finding.found
    has = settings_of(answer(kubelet={**KUBELET, "cpuManagerPolicy": "static"}, record=record()))
    assert list(findings(options, has, allow_drain=False)) == []
    (finding,) = findings(options, SETTINGS, allow_drain=True)
    assert "this run drains" in finding.found and "without" not in finding.found


def test_the_pages_reserved_resources_and_evictions_are_accepted() -> None:
    wanted = ClusterOptions(**options_with("systemReserved")).kubelet_configuration
    assert wanted["evictionHard"]["memory.available"] == "100Mi"
    new = with_values(KUBELET, changed(KUBELET, wanted=wanted, claimed=()))
    assert new == {**KUBELET, **wanted}
