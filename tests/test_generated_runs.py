"""Generated wrong data on pyinfra's command line: no host is asked or told anything, and nobody sees a traceback."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.generated_clusters import hosts, settings
from tests.hypothesis_profile import runs
from tests.node_strategies import NODE_FIELDS
from tests.strategies import FIELDS

ROOT = Path(__file__).parents[1]

# Every command and file that pyinfra would bring to a host passes here.
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
    """Run cluster.py on hosts with these data, the first a control plane; and whether a host heard of it."""
    record = folder / "record"
    record.unlink(missing_ok=True)
    named = [(f"@fake/host-{number}", each) for number, each in enumerate(data)]
    inventory = folder / "inventory.py"
    text = _INVENTORY.format(record=str(record), control_plane=named[:1], workers=named[1:])
    inventory.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [Path(sys.executable).with_name("pyinfra"), "-y", *arguments, inventory, "deploys/cluster.py"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    return done, record.exists()


def assert_refused(
    folder: Path, data: list[dict[str, Any]], fields: list[str], arguments: Sequence[str] = ()
) -> None:
    done, heard = run(folder, data, arguments)
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert not heard
    assert "Traceback" not in output
    told = output.partition("pyinfra error")[2]
    assert [field for field in fields if f"{field}: " not in told] == []


def plain(wrong: object) -> bool:
    """Whether an inventory can hold the value as Python writes it."""
    return "object at 0x" not in repr(wrong) and "{...}" not in repr(wrong)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def test_a_host_that_hears_of_a_run_is_noticed(folder: Path) -> None:
    done, heard = run(folder, [{"node_name": "cp-1", "node_ip": "10.0.0.1"}])
    assert heard, done.stdout + done.stderr


@runs
@given(right=settings(), data=st.data())
def test_wrong_options_reach_no_host(folder: Path, right: dict[str, Any], data: st.DataObject) -> None:
    fields = data.draw(st.lists(st.sampled_from(list(FIELDS)), min_size=1, max_size=4, unique=True))
    wrong = {field: data.draw(FIELDS[field].wrong.filter(plain)) for field in fields}
    machines = data.draw(hosts(most=2))
    assert_refused(folder, [{**right, **each, **wrong} for each in machines], fields)


@runs
@given(data=st.data())
def test_wrong_hosts_reach_no_host(folder: Path, data: st.DataObject) -> None:
    machines = data.draw(hosts(most=3))
    field = data.draw(st.sampled_from(list(NODE_FIELDS)))
    machines[-1][field] = data.draw(NODE_FIELDS[field].wrong.filter(plain))
    assert_refused(folder, machines, [field])


def is_argument(wrong: object) -> bool:
    """Whether a command line can hold the value, and it stays text there."""
    return (
        isinstance(wrong, str)
        and "\0" not in wrong
        and not any("\ud800" <= each < "\ue000" for each in wrong)
    )


@runs
@given(data=st.data())
def test_wrong_options_on_the_command_line_reach_no_host(folder: Path, data: st.DataObject) -> None:
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
