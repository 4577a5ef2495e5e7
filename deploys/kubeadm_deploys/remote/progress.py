"""Print regularly what a run waits for, so that a long wait does not look like a hang."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
from gevent.event import Event
from pyinfra import logger
from pyinfra.api import Host

SECONDS = 15
"""Seconds between two lines about the same wait."""


@contextmanager
def reported(host: Host, what: str = "") -> Iterator[None]:
    """Print every ``SECONDS`` that ``what`` still takes time on a host; by default the operation that it executes."""
    ended = Event()
    began = time.monotonic()

    def report() -> None:
        # The wait may have timed out just before the end.
        while not (ended.wait(SECONDS) or ended.is_set()):
            logger.info(
                f"--> {host.name}: {what or _operation(host)} ({time.monotonic() - began:.0f} s so far)"
            )

    gevent.spawn(report)
    try:
        yield
    finally:
        ended.set()


def _operation(host: Host) -> str:
    op_hash = host.executing_op_hash
    names = sorted(host.state.get_op_meta(op_hash).names) if op_hash else []
    return ", ".join(names) or "waiting for a command"
