"""Generated wrong data on pyinfra's command line: no host gets a command, and no traceback is printed."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fake_answers import ROOT
from tests.support.generated_clusters import hosts, settings
from tests.support.hypothesis_profile import runs
from tests.support.node_strategies import NODE_FIELDS
from tests.support.pyinfra_command import pyinfra
from tests.support.strategies import FIELDS

# The fake connector calls this for every command and file that pyinfra would send to a host.
_INVENTORY = """
from pathlib import Path

from pyinfra.connectors.fake import FakeConnector

FakeConnector._sleep = lambda connector: Path({record!r}).write_text(connector.host.name)

inf, nan = float("inf"), float("nan")
control_plane = {control_plane!r}
workers = {workers!r}
"""


def run(
    folder: Path, data: list[dict[str, Any]], arguments: Sequence[str] = ()
) -> tuple[subprocess.CompletedProcess[str], bool]:
    """Run cluster.py on hosts with this data, the first a control plane; return whether one got a command."""
    record = folder / "record"
    record.unlink(missing_ok=True)
    named = [(f"@fake/host-{number}", host_data) for number, host_data in enumerate(data)]
    inventory = folder / "inventory.py"
    text = _INVENTORY.format(record=str(record), control_plane=named[:1], workers=named[1:])
    inventory.write_text(text, encoding="utf-8")
    done = pyinfra(
        "-y",
        *arguments,
        inventory,
        "deploys/cluster.py",
        folder=ROOT,
        environment={"PATH": "/usr/bin:/bin"},
    )
    return done, record.exists()


def assert_refused(
    folder: Path, data: list[dict[str, Any]], fields: list[str], arguments: Sequence[str] = ()
) -> None:
    done, sent = run(folder, data, arguments)
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert not sent
    assert "Traceback" not in output
    error = output.partition("pyinfra error")[2]
    assert [field for field in fields if f"{field}: " not in error] == []


def plain(wrong: object) -> bool:
    """Return whether the repr of the value can be written into an inventory."""
    return "object at 0x" not in repr(wrong) and "{...}" not in repr(wrong)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def test_a_command_to_a_host_is_detected(folder: Path) -> None:
    done, sent = run(folder, [{"node_name": "cp-1", "node_ip": "10.0.0.1"}])
    assert sent, done.stdout + done.stderr


@runs
@given(right=settings(), data=st.data())
def test_wrong_options_send_no_command(folder: Path, right: dict[str, Any], data: st.DataObject) -> None:
    fields = data.draw(st.lists(st.sampled_from(list(FIELDS)), min_size=1, max_size=4, unique=True))
    wrong = {field: data.draw(FIELDS[field].wrong.filter(plain)) for field in fields}
    machines = data.draw(hosts(most=2))
    assert_refused(folder, [{**right, **machine, **wrong} for machine in machines], fields)


@runs
@given(data=st.data())
def test_wrong_host_data_sends_no_command(folder: Path, data: st.DataObject) -> None:
    machines = data.draw(hosts(most=3))
    field = data.draw(st.sampled_from(list(NODE_FIELDS)))
    machines[-1][field] = data.draw(NODE_FIELDS[field].wrong.filter(plain))
    assert_refused(folder, machines, [field])


def is_argument(wrong: object) -> bool:
    """Return whether the value is text that can be passed on a command line."""
    return (
        isinstance(wrong, str)
        and "\0" not in wrong
        and not any("\ud800" <= character < "\ue000" for character in wrong)
    )


@runs
@given(data=st.data())
def test_wrong_options_on_the_command_line_send_no_command(folder: Path, data: st.DataObject) -> None:
    fields = data.draw(
        st.lists(
            st.sampled_from(["cluster_name", "pod_subnet", "mirror", "kubeconfig", "swap"]),
            min_size=1,
            max_size=3,
            unique=True,
        )
    )
    arguments = [f"--data={field}={data.draw(FIELDS[field].wrong.filter(is_argument))}" for field in fields]
    assert_refused(folder, [{"node_name": "cp-1", "node_ip": "10.0.0.1"}], fields, arguments)
