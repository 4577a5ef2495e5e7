"""Long waits print regularly what they wait for."""

from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from kubeadm_deploys.remote import progress

OPERATION = SimpleNamespace(names={"Join the cluster"})


def host(*, executing: str = "") -> Any:
    state = SimpleNamespace(get_op_meta={"abc": OPERATION}.__getitem__)
    return SimpleNamespace(name="worker-1", executing_op_hash=executing or None, state=state)


@pytest.mark.parametrize(
    ("executing", "what", "line"),
    [
        ("", "waiting for cloud-init", "--> worker-1: waiting for cloud-init ("),
        ("abc", "", "--> worker-1: Join the cluster ("),
        ("", "", "--> worker-1: waiting for a command ("),
    ],
)
def test_a_long_wait_is_reported_until_it_ends(
    executing: str, what: str, line: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="pyinfra")
    monkeypatch.setattr(progress, "SECONDS", 0.01)
    with gevent.Timeout(30), progress.reported(host(executing=executing), what):
        while len(caplog.messages) < 2:
            gevent.sleep(0.01)
    printed = list(caplog.messages)
    assert all(message.startswith(line) for message in printed)
    gevent.sleep(0.05)
    assert caplog.messages == printed


def test_a_short_wait_prints_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="pyinfra")
    with progress.reported(host(), "waiting for cloud-init"):
        gevent.sleep(0.05)
    assert caplog.messages == []
