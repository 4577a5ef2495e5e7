"""Bridged traffic: modules, and limits that are raised but never lowered."""

import pytest

from kubeadm_deploys.sections import bridged_traffic
from kubeadm_deploys.sections.bridged_traffic import BridgedTraffic


def test_built_in_modules_count_as_present() -> None:
    state = BridgedTraffic().process(
        ["module:overlay loaded", "sysctl:net.ipv4.ip_forward 1", "container docker"]
    )
    assert bridged_traffic.missing_modules(state) == ["br_netfilter"]
    assert bridged_traffic.sysctls_differ(state)
    assert state.in_container


INSTANCES, WATCHES = bridged_traffic.LIMITS


@pytest.mark.parametrize(
    ("output", "low"),
    [
        ([f"sysctl:{INSTANCES} 128", f"sysctl:{WATCHES} 1048576", "container none"], [INSTANCES]),
        ([f"sysctl:{INSTANCES} 8192", f"sysctl:{WATCHES} 524288", "container none"], []),
        ([f"sysctl:{INSTANCES} 128", f"sysctl:{WATCHES} 8192", "container docker"], []),
        # What was not read is not known.
        (["container none"], []),
    ],
)
def test_limits_are_raised_never_lowered_and_not_in_a_container(output: list[str], low: list[str]) -> None:
    state = BridgedTraffic().process(output)
    assert bridged_traffic.low_limits(state) == low
    assert bridged_traffic.limit_files(state) == {
        bridged_traffic.LIMITS_FILES[key]: f"{key} = {bridged_traffic.LIMITS[key]}\n" for key in low
    }


def test_a_limit_that_was_raised_keeps_its_file() -> None:
    path = bridged_traffic.LIMITS_FILES[INSTANCES]
    state = BridgedTraffic().process([f"sysctl:{INSTANCES} 8192", "container none", f"file:{path} 1f"])
    assert path in state.files
    assert list(bridged_traffic.limit_files(state)) == [path]
