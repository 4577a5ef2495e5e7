"""A check that has to wait for the cluster's API, which did not answer when the lock was taken."""

from collections.abc import Callable

from gevent.lock import RLock
from pyinfra.api.exceptions import DeployError


class DeferredCheck:
    """The ``check`` of a run, None without one."""

    def __init__(self) -> None:
        self.check: Callable[[], None] | None = None
        self._lock = RLock()
        self._refusal: DeployError | None = None

    def make(self) -> None:
        """Make it, once in a run.

        Raises:
            DeployError: what it has found, for each host that asks.
        """
        with self._lock:
            check, self.check = self.check, None
            if check:
                try:
                    check()
                except DeployError as error:
                    self._refusal = error
            if self._refusal:
                raise self._refusal
