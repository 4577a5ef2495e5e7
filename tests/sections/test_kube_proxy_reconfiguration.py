"""What changes in kube-proxy's configuration on a live cluster, what is taken back, and what counts as an edit."""

from typing import Any

import pytest

from kubeadm_deploys.documents.cluster_record import ClusterRecord, RecordedConfiguration
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.sections.kube_proxy_reconfiguration import Wanted, wanted_of
from tests.support.cluster_settings import KUBE_PROXY, answer, settings_of

NFTABLES = {"mode": "nftables", "conntrack": {"min": 0}}
FIELDS = {"mode": "nftables", "conntrack/min": 0}


def wanted(
    options: dict[str, Any], found: dict[str, Any], *pending: dict[str, Any], recorded: dict[str, Any]
) -> Wanted:
    return wanted_of(
        ClusterOptions(kube_proxy_configuration=options),
        found={**KUBE_PROXY, **found},
        recorded=RecordedConfiguration(kube_proxy=recorded, kube_proxy_pending=pending),
    )


def test_fields_are_changed_and_taken_back_and_all_others_stay() -> None:
    new = wanted(NFTABLES, {}, recorded={})
    assert (new.values, new.fields, new.edits) == (FIELDS, FIELDS, [])
    assert new.configuration == {
        **KUBE_PROXY,
        "mode": "nftables",
        "conntrack": {**KUBE_PROXY["conntrack"], "min": 0},  # type: ignore[dict-item]
    }
    has = wanted(NFTABLES, dict(new.configuration), recorded=FIELDS)
    assert (has.values, has.configuration) == ({}, new.configuration)
    back = wanted({}, {**new.configuration, "bindAddress": "10.0.0.1"}, recorded=FIELDS)
    assert (back.values, back.edits) == (dict.fromkeys(FIELDS), [])
    assert "mode" not in back.configuration and back.configuration["bindAddress"] == "10.0.0.1"


def test_a_value_that_somebody_has_set_since_is_an_edit() -> None:
    for options in ({"mode": "iptables"}, {"mode": "nftables"}, {}):
        assert wanted(options, {"mode": "ipvs"}, recorded={"mode": "nftables"}).edits == ["mode is 'ipvs'"]
    # Nobody has said before what it should be.
    assert wanted({"mode": "nftables"}, {"mode": "ipvs"}, recorded={}).edits == []


def test_what_an_unfinished_run_may_have_written_is_no_edit() -> None:
    pending = [{**KUBE_PROXY}, {**KUBE_PROXY, "mode": "ipvs"}]
    for found in ("", "ipvs"):
        unfinished = wanted({"mode": "nftables"}, {"mode": found}, *pending, recorded={"mode": "ipvs"})
        assert (unfinished.values, unfinished.edits) == ({"mode": "nftables"}, [])
    edited = wanted({"mode": "nftables"}, {"mode": "userspace"}, *pending, recorded={"mode": "ipvs"})
    assert edited.edits == ["mode is 'userspace'"]


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ({"clusterCIDR": "10.0.0.0/8"}, "pod_subnet"),
        ({"hostnameOverride": "a"}, "the node's name"),
        ({"clientConnection": {"kubeconfig": "/tmp/x"}}, "kubeadm mounts it"),
    ],
)
def test_what_others_decide_is_refused(field: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=rf"kube_proxy_configuration: .*{reason}.*leave it out"):
        ClusterOptions(kube_proxy_configuration=field)
    assert ClusterOptions(kube_proxy_configuration={"clientConnection": {"burst": 20}})


def test_the_record_and_the_configmaps_text_are_kept() -> None:
    recorded = RecordedConfiguration(kube_proxy=FIELDS, kube_proxy_pending=({"mode": ""}, {"mode": "ipvs"}))
    assert ClusterRecord().with_configuration(recorded).configuration == recorded
    settings = settings_of(answer())
    assert settings.kube_proxy == KUBE_PROXY and "kind: KubeProxyConfiguration" in settings.kube_proxy_text
    assert settings_of(answer(kube_proxy=None)).kube_proxy_text == ""
