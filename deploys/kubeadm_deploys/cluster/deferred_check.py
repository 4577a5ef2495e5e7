"""A check that waits for the cluster's API, because that did not answer when the run lock was taken."""

from collections.abc import Callable

from gevent.lock import RLock
from pyinfra.api.exceptions import DeployError


class DeferredCheck:
    """The ``check`` that a run defers, None if there is none."""

    def __init__(self) -> None:
        self.check: Callable[[], None] | None = None
        self._lock = RLock()
        self._refusal: DeployError | None = None

    def make(self) -> None:
        """Run the check once per run.

        Raises:
            DeployError: the check refused; raised for every host that calls this.
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
