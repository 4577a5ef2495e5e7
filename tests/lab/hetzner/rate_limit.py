"""The API's rate limit: a budget of calls that refills evenly within an hour."""

import threading
import time

HOUR = 3600


class RateLimit:
    """The calls that are left, as in the three RateLimit headers."""

    def __init__(self, *, calls_an_hour: int) -> None:
        self.limit = calls_an_hour
        self._lock = threading.Lock()
        self._remaining = float(calls_an_hour)
        self._seen = time.monotonic()

    def use(self) -> bool:
        """Take one call from the budget; return False if none is left."""
        with self._lock:
            self._refill()
            if self._remaining < 1:
                return False
            self._remaining -= 1
            return True

    def headers(self) -> dict[str, str]:
        """Return the headers of an answer."""
        with self._lock:
            self._refill()
            remaining = int(self._remaining)
            full_again = time.time() + (self.limit - self._remaining) * HOUR / self.limit
        return headers(limit=self.limit, remaining=remaining, reset=full_again)

    def _refill(self) -> None:
        now = time.monotonic()
        gained = (now - self._seen) * self.limit / HOUR
        self._remaining = min(float(self.limit), self._remaining + gained)
        self._seen = now


def headers(*, limit: int, remaining: int, reset: float) -> dict[str, str]:
    """Return the three headers; `reset` is the UNIX time at which the full budget is available again."""
    return {
        "RateLimit-Limit": str(limit),
        "RateLimit-Remaining": str(remaining),
        "RateLimit-Reset": str(int(reset) + 1),
    }
