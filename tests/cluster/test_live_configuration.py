"""What changes in a live cluster's ClusterConfiguration, what is taken back, and what is refused."""

import dataclasses
import json
from typing import Any

import pytest

from kubeadm_deploys.cluster.live_configuration import (
    differences,
    edits,
    findings,
    names_of,
    san_names,
    sans_of,
    taken_back,
    target,
    unnamed,
    with_sans,
)
from kubeadm_deploys.cluster.live_options import follow
from kubeadm_deploys.cluster.reconfiguring import Stopped
from kubeadm_deploys.cluster.static_pods import HEALTH, turn_of
from kubeadm_deploys.documents.cluster_record import ClusterRecord, RecordedConfiguration
from kubeadm_deploys.model.findings import Severity
from kubeadm_deploys.model.nodes import Node
from kubeadm_deploys.model.options import ClusterOptions
from tests.support.cluster_settings import CLUSTER, answer, record, settings_of

API_SERVER: dict[str, Any] = dict(CLUSTER)["apiServer"]  # type: ignore[assignment]
NODE = Node(host="cp-1", name="cp-1", ip="10.0.0.1", address="10.0.0.1")
OURS = {"name": "shutdown-watch-termination-grace-period", "value": "5s"}


def with_arguments(*pairs: tuple[str, str], component: str = "apiServer") -> dict[str, Any]:
    return {component: {"extraArgs": [{"name": name, "value": value} for name, value in pairs]}}


def stored(*pairs: tuple[str, str]) -> dict[str, Any]:
    arguments = with_arguments(*pairs)["apiServer"]["extraArgs"]
    return {**CLUSTER, "apiServer": {**API_SERVER, "extraArgs": arguments}}


def arguments_of(configuration: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["name"], each["value"]) for each in configuration["apiServer"].get("extraArgs", [])]


def test_equal_configurations_do_not_differ() -> None:
    wanted = {
        **with_arguments(("v", "3")),
        "certificateValidityPeriod": "24h",
        "scheduler": {
            "extraVolumes": [{"name": "a", "hostPath": "/a", "mountPath": "/a", "readOnly": False}]
        },
    }
    found = {
        **stored(("v", "3")),
        "certificateValidityPeriod": "24h0m0s",
        "scheduler": {"extraVolumes": [{"name": "a", "hostPath": "/a", "mountPath": "/a"}]},
    }
    assert list(differences(wanted, found)) == []
    assert list(differences({}, found)) == []


def test_each_field_that_differs_is_named_with_both_values() -> None:
    wanted = {**with_arguments(("v", "3"), ("x", "1"), ("x", "2")), "certificateValidityPeriod": "48h"}
    found = {**stored(("v", "2")), "certificateValidityPeriod": "24h0m0s"}
    assert [name for name, _, _ in differences(wanted, found)] == [
        "apiServer.extraArgs v",
        "apiServer.extraArgs x",
        "certificateValidityPeriod",
    ]
    assert ("apiServer.extraArgs v", "'3'", "'2'") in list(differences(wanted, found))


def test_only_what_this_package_has_set_is_taken_back() -> None:
    found = stored(("others", "1"), ("ours", "2"), (OURS["name"], "60s"))
    claimed = {"apiServer.extraArgs ours", f"apiServer.extraArgs {OURS['name']}", "apiServer.extraArgs gone"}
    back = ["apiServer.extraArgs ours", f"apiServer.extraArgs {OURS['name']}"]
    assert taken_back(found, wanted={}, claimed=claimed) == back
    new = target(found, wanted={}, claimed=claimed)
    # The package's own default comes back.
    assert arguments_of(new) == [("others", "1"), (OURS["name"], "5s")]
    assert taken_back(new, wanted={}, claimed=claimed) == []
    assert unnamed({}, new, claimed=()) == ["apiServer.extraArgs others"]
    assert unnamed(with_arguments(("others", "1")), new, claimed=()) == []


def test_changed_arguments_keep_their_place_and_all_other_fields_stay() -> None:
    found = stored(("a", "1"), ("b", "2"))
    new = target(found, wanted=with_arguments(("a", "10"), ("c", "3")), claimed=())
    assert arguments_of(new) == [("a", "10"), ("b", "2"), ("c", "3")]
    rest = {key: value for key, value in new.items() if key != "apiServer"}
    assert rest == {key: value for key, value in found.items() if key != "apiServer"}
    assert new["apiServer"]["certSANs"] == API_SERVER["certSANs"]
    assert arguments_of(found) == [("a", "1"), ("b", "2")]


def test_what_a_live_cluster_cannot_be_given_is_an_error_and_unknown_fields_are_warnings() -> None:
    settings = settings_of(answer(cluster=stored(("others", "1")), record=record()))
    etcd = {"local": {"extraArgs": [{"name": "quota-backend-bytes", "value": "1"}]}}
    options = ClusterOptions(cluster_configuration={"etcd": etcd, **with_arguments(("v", "3"))})
    error, warning = findings(options, settings)
    assert error.severity is Severity.ERROR
    assert "etcd.local.extraArgs quota-backend-bytes is '1', but the cluster has unset" in error.found
    assert "only when a cluster is created" in error.found
    assert (warning.severity, warning.fix) == (Severity.WARNING, "add it to cluster_configuration")
    assert "apiServer.extraArgs others" in warning.found
    # A live field is changed by the run, so it is no finding.
    live = ClusterOptions(cluster_configuration=with_arguments(("v", "3"), ("others", "1")))
    assert follow(live, settings=settings, machines={}).findings == ()


def test_a_field_that_stays_although_the_options_lost_it_is_a_warning() -> None:
    found = {**CLUSTER, "dns": {"imageTag": "v1.12.0"}}
    names = json.dumps({"names": ["dns.imageTag"], "kubelet_names": []})
    settings = settings_of(answer(cluster=found, record={**record(), "configuration": names}))
    (finding,) = findings(ClusterOptions(), settings)
    assert "no longer has dns.imageTag, but the cluster keeps it" in finding.found


def test_the_record_keeps_what_was_set() -> None:
    configuration = RecordedConfiguration(
        names=frozenset({"b", "a"}), pending=({"x": 1}, {"y": 2}), kubelet_names=frozenset({"maxPods"})
    )
    written = ClusterRecord(data=record()).with_configuration(configuration)
    assert written.configuration == configuration
    assert written.releases == ClusterRecord(data=record()).releases
    ended = written.with_configuration(dataclasses.replace(configuration, pending=()))
    assert ended.configuration == dataclasses.replace(configuration, pending=())
    damaged = ClusterRecord(data={"configuration": '{"names": 5}'})
    assert (damaged.configuration, damaged.damaged) == (None, ("configuration",))


def test_all_fields_have_names() -> None:
    configuration = {
        **with_arguments(("v", "3")),
        "etcd": {"local": {"extraEnvs": [{"name": "A", "value": "1"}]}},
        "featureGates": {"X": True},
        "dns": {"imageTag": "v1"},
        "caCertificateValidityPeriod": "1h",
    }
    assert names_of(configuration) == {
        "apiServer.extraArgs v",
        "etcd.local.extraEnvs A",
        "featureGates.X",
        "dns.imageTag",
        "caCertificateValidityPeriod",
    }


def manifest(name: str, *arguments: str, folder: str = "/etc/kubernetes/pki") -> str:
    pod = {
        "spec": {
            "containers": [{"command": [name, *arguments]}],
            "volumes": [{"hostPath": {"path": folder}}],
        }
    }
    return json.dumps(pod)


def texts() -> dict[str, str]:
    """Return manifests that are as kubeadm would write them, with the old and with the new configuration."""
    return {f"{which}:{name}": manifest(name) for which in ("current", "0", "1") for name in HEALTH}


def test_a_control_plane_that_is_as_wanted_is_left_alone() -> None:
    assert turn_of(NODE, texts(), paths=()).swaps == ()
    new = manifest("kube-apiserver", "--v=3")
    done = texts() | {"current:kube-apiserver": new, "1:kube-apiserver": new}
    assert turn_of(NODE, done, paths=()).swaps == ()


def test_only_what_changes_is_swapped_and_an_edit_that_would_be_lost_is_listed() -> None:
    changes = texts() | {"1:kube-apiserver": manifest("kube-apiserver", "--v=3")}
    turn = turn_of(NODE, changes, paths=())
    assert [(swap.name, swap.arguments, swap.new_arguments) for swap in turn.swaps] == [
        ("kube-apiserver", ("--v=3",), True)
    ]
    assert turn.edits == ()
    by_hand = {**changes, "current:kube-apiserver": manifest("kube-apiserver", "--by-hand=1")}
    edited = turn_of(NODE, by_hand, paths=())
    assert edited.edits == ("kube-apiserver of cp-1 (--by-hand=1)",)
    # An edit of a pod whose configuration stays is not lost.
    elsewhere = {**changes, "current:kube-scheduler": manifest("kube-scheduler", "--by-hand=1")}
    assert turn_of(NODE, elsewhere, paths=()).edits == ()


@pytest.mark.parametrize("of", ["2", "3"], ids=["the first run", "the second run"])
def test_what_unfinished_runs_have_put_in_is_no_edit(of: str) -> None:
    pending = manifest("kube-apiserver", "--v=9")
    rendered = {f"{number}:kube-apiserver": manifest("kube-apiserver", "--v=8") for number in "23"}
    after = texts() | rendered | {"current:kube-apiserver": pending, f"{of}:kube-apiserver": pending}
    turn = turn_of(NODE, after, paths=())
    assert ([swap.name for swap in turn.swaps], turn.edits) == (["kube-apiserver"], ())


def test_a_file_restarts_the_pods_that_mount_it() -> None:
    path = "/etc/kubernetes/audit/policy.yaml"
    mounts = manifest("kube-apiserver", folder="/etc/kubernetes/audit")
    both = {f"{which}:kube-apiserver": mounts for which in ("current", "0", "1")}
    turn = turn_of(NODE, texts() | both, paths=(path, "/etc/kubernetes/other/file"))
    assert [(swap.name, swap.paths, swap.new_arguments) for swap in turn.swaps] == [
        ("kube-apiserver", (path,), False)
    ]
    assert turn.paths == ("/etc/kubernetes/other/file",)


def test_a_manifest_that_is_missing_or_no_yaml_stops() -> None:
    without = {key: text for key, text in texts().items() if key != "current:kube-scheduler"}
    for broken in (without, texts() | {"current:kube-scheduler": "{"}):
        with pytest.raises(Stopped, match="cannot be read"):
            turn_of(NODE, broken, paths=())


def test_edits_are_named_by_their_arguments() -> None:
    rendered = json.loads(manifest("x", "--a=1", "--b=2"))
    assert edits(json.loads(manifest("x", "--a=1", "--c=3")), rendered) == ["--c=3", "without --b=2"]
    assert edits(json.loads(manifest("x", "--a=1", "--b=2", folder="/")), rendered) == [
        "other fields than its arguments"
    ]
    assert edits(rendered, rendered) == []


def test_names_of_the_certificate_are_added_and_taken_back_in_any_notation() -> None:
    needed = ["api.kubernetes.internal", "cp-1"]
    wanted = ("k8s.example.com", "2001:db8::1")
    new = with_sans(CLUSTER, wanted=wanted, needed=needed, claimed=())
    assert sans_of(new) == [*API_SERVER["certSANs"], *wanted]
    other_notation = ("K8S.example.com", "2001:db8:0::1")
    assert with_sans(new, wanted=other_notation, needed=needed, claimed=san_names(wanted)) == new
    # A name that the cluster needs stays, although the options had it too.
    claimed = san_names((*wanted, "cp-1"))
    assert sans_of(with_sans(new, wanted=(), needed=needed, claimed=claimed)) == API_SERVER["certSANs"]
    assert with_sans(new, wanted=(), needed=needed, claimed=()) == new
