"""Handle Ctrl-C during calls to Hetzner's API: stop calling and waiting, and report what is done.

pyinfra's own handler only ends the main greenlet. Work already started would continue: order servers, wait an
hour for the rate limit's reset, and end with exit code 0.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
from pyinfra import logger

interrupted = threading.Event()
"""Set by Ctrl-C; every wait also ends on it."""


@contextmanager
def stopping_at_interrupt() -> Iterator[None]:
    """Let Ctrl-C stop the API calls made inside; a second Ctrl-C ends the process at once."""

    def stop() -> None:
        interrupted.set()
        logger.warning("--> Stopping: no new API calls will be made (Ctrl-C again ends this at once)")

    # A signal may arrive while a log line is being written or the event's lock is held. Logging or locking in
    # the handler would then fail or hang, so gevent runs ``stop`` as soon as nothing else runs.
    def later(*_: object) -> None:
        gevent.get_hub().loop.run_callback_threadsafe(gevent.spawn, stop)
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    before = signal.signal(signal.SIGINT, later)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
