"""Print the tests that were not run because they are marked ``chaos`` at the end of a test run."""

from collections.abc import Sequence
from typing import Any

import pytest

_LEFT_OUT = pytest.StashKey[set[str]]()
_KEY = "left out"


def pytest_configure(config: pytest.Config) -> None:
    """Initialize the set of deselected tests."""
    config.stash[_LEFT_OUT] = set()


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Remember the deselected tests, in each pytest-xdist worker."""
    for item in items:
        if item.get_closest_marker("chaos"):
            item.config.stash[_LEFT_OUT].add(item.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send them from a worker to the controller."""
    workeroutput: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if workeroutput is not None:
        found = session.config.stash[_LEFT_OUT]
        workeroutput[_KEY] = sorted(found)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Receive them from a worker that has ended."""
    node.config.stash[_LEFT_OUT].update(getattr(node, "workeroutput", {}).get(_KEY, ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print their names."""
    found = config.stash[_LEFT_OUT]
    for name in sorted(found):
        terminalreporter.write_line(f"not run (part of make chaos): {name}")
