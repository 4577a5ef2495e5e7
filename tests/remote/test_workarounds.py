"""Uses of pyinfra's internals."""

import inspect
from typing import Any

import pytest
from pyinfra.api import util

from kubeadm_deploys.remote import workarounds


def place() -> tuple[Any, ...]:
    """Return where pyinfra finds the function that called this one, in its own file."""
    return tuple(util.get_caller_frameinfo())[:3]


def test_pyinfra_finds_its_place_in_a_deploy_without_reading_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stack", "getframeinfo"):
        monkeypatch.setattr(util, name, getattr(inspect, name))
    places = []
    for quick in (False, True):
        if quick:
            workarounds.read_no_sources()
            monkeypatch.setattr(inspect, "findsource", None)
        places.append(place())
    assert places[0] == places[1]
    assert places[0][0] == __file__
