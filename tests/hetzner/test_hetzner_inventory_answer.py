"""The inventory on Hetzner: when the API is called, and when its cached answer is used."""

import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import InventoryError

from kubeadm_deploys.hetzner.api.client import HetznerError
from kubeadm_deploys.hetzner.inventory.answer import Answer, current_answer, read_record
from tests.support.hetzner_inventory import server

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def answer(*, age: float = 0, endpoint: str = "", **changes: Any) -> Answer:
    values = {"servers": [server()], "load_balancers": [], **changes}
    return Answer(endpoint=endpoint, time=NOON - timedelta(seconds=age), **values)


class Calls:
    """An API that counts its calls."""

    def __init__(self, error: HetznerError | None = None) -> None:
        self.count = 0
        self.error = error

    def __call__(self) -> Answer:
        self.count += 1
        if self.error:
            raise self.error
        return answer(servers=[])


def ask(
    folder: Path, calls: Calls, *, age: float | None, mode: str | None = None, endpoint: str = ""
) -> Answer:
    """Return the answer used at noon, with a cached answer of this age in the folder."""
    record = folder / "state" / "servers.json"
    if age is not None:
        current_answer(
            lambda: answer(age=age),
            record=record,
            endpoint="",
            environment={"HETZNER_INVENTORY": "refresh"},
            now=NOON,
        )
    environment = {} if mode is None else {"HETZNER_INVENTORY": mode}
    used, is_new = current_answer(calls, record=record, endpoint=endpoint, environment=environment, now=NOON)
    assert is_new == (used.servers == [])
    return used


@pytest.mark.parametrize(
    ("age", "mode", "expected_calls"),
    [
        (None, None, 1),
        (0, None, 0),
        (59, None, 0),
        (60, None, 1),
        (-5, None, 1),
        (59, "", 0),
        (None, "refresh", 1),
        (1, "refresh", 1),
        (1, "offline", 0),
        (10**6, "offline", 0),
    ],
)
def test_when_the_api_is_called(
    tmp_path: Path, age: float | None, mode: str | None, expected_calls: int
) -> None:
    calls = Calls()
    used = ask(tmp_path, calls, age=age, mode=mode)
    assert calls.count == expected_calls
    assert used.servers == ([] if expected_calls else [server()])


def test_an_answer_is_cached_for_the_operator_only(tmp_path: Path) -> None:
    ask(tmp_path, Calls(), age=None)
    record = tmp_path / "state" / "servers.json"
    assert record.stat().st_mode & 0o777 == 0o600
    assert record.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in record.parent.iterdir()] == ["servers.json"]
    assert json.loads(record.read_text()) == {
        "endpoint": "",
        "time": "2026-11-24T12:00:00+00:00",
        "servers": [],
        "load_balancers": [],
    }


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"time": "x"}', '{"time": "2026-11-24T12:00:00"}'])
def test_an_invalid_cached_answer_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / "servers.json").write_text(text)
    assert read_record(tmp_path / "servers.json", endpoint="") is None


def test_a_cached_answer_of_another_endpoint_is_ignored(tmp_path: Path) -> None:
    calls = Calls()
    ask(tmp_path, calls, age=1, endpoint="http://127.0.0.1:1/v1")
    assert calls.count == 1


@pytest.mark.parametrize(
    ("age", "words"),
    [(3, "3 seconds ago"), (119, "119 seconds ago"), (600, "10 minutes ago"), (10800, "3 hours ago")],
)
@pytest.mark.parametrize("code", ["", "server_error", "unavailable", "rate_limit_exceeded", 429, 502])
def test_without_the_api_the_cached_answer_is_used_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, code: str | int, age: float, words: str
) -> None:
    calls = Calls(HetznerError("the API is away", code=code))
    with caplog.at_level(logging.WARNING, logger="pyinfra"):
        if age < 60:
            age += 60
            words = "63 seconds ago"
        assert ask(tmp_path, calls, age=age).servers == [server()]
    [record] = caplog.records
    assert "Warning: the API is away" in record.message and words in record.message


@pytest.mark.parametrize("code", ["unauthorized", "forbidden", "not_found", 401, 403, 404])
def test_the_cached_answer_does_not_replace_a_refusal(tmp_path: Path, code: str | int) -> None:
    with pytest.raises(HetznerError, match="go away"):
        ask(tmp_path, Calls(HetznerError("go away", code=code)), age=3600)


@pytest.mark.parametrize(("age", "mode"), [(3600, "refresh"), (None, None)])
def test_an_unreachable_api_is_an_error_without_a_cached_answer(
    tmp_path: Path, age: float | None, mode: str | None
) -> None:
    with pytest.raises(HetznerError, match="away"):
        ask(tmp_path, Calls(HetznerError("away")), age=age, mode=mode)


def test_offline_warns_with_the_age_of_the_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="pyinfra"):
        ask(tmp_path, Calls(), age=3 * 86400, mode="offline")
    assert "offline" in caplog.text and "3 days ago" in caplog.text


def test_offline_needs_a_cached_answer(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match=r"servers\.json has no cached answer of the API; run once"):
        ask(tmp_path, Calls(), age=None, mode="offline")


def test_another_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="HETZNER_INVENTORY: 'yes' is neither 'refresh' nor 'offline'"):
        ask(tmp_path, Calls(), age=1, mode="yes")
