"""Ctrl-C while Hetzner's API is asked: no further call, no further waiting, and what is done is told.

pyinfra's own handler only ends the main greenlet. Work that has begun would go on behind it: order servers,
wait an hour for the rate limit's reset, and end with exit code 0.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
from pyinfra import logger

interrupted = threading.Event()
"""Set by Ctrl-C; whatever waits waits for it too."""


@contextmanager
def stopping_at_interrupt() -> Iterator[None]:
    """Let Ctrl-C stop the calls that are made inside; a second one ends the process at once."""

    def stop() -> None:
        interrupted.set()
        logger.warning("--> Stopping, nothing more is begun (Ctrl-C again ends this at once)")

    # A signal may come in the middle of a line that is being written, or with the event's lock held: what writes or
    # takes a lock then fails or hangs. So the handler only asks gevent to do it as soon as nothing else runs.
    def later(*_: object) -> None:
        gevent.get_hub().loop.run_callback_threadsafe(gevent.spawn, stop)
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    before = signal.signal(signal.SIGINT, later)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
