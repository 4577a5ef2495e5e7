"""Faults that a test orders for the next matching calls."""

import threading
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase

from tests.lab.hetzner.errors import CODE_OF
from tests.lab.hetzner.records import Json

WRITES = ("POST", "PUT", "DELETE")
KINDS = (
    *(str(status) for status in CODE_OF),
    "drop-before",
    "drop-after",
    "slow",
    "action-error",
)
"""An HTTP status; a connection dropped before or after the work is done; a slow answer; a failing action."""


@dataclass(kw_only=True)
class Fault:
    """One ordered fault."""

    method: str
    """An HTTP method, "write" for POST, PUT and DELETE, or "*"."""
    path: str
    """Path without /v1, with * for anything: "/servers", "/servers/*/actions/poweron"."""
    fault: str
    times: int | None
    """Number of matching calls that fail; None for all."""
    after: int
    """Number of matching calls that succeed before."""
    code: str
    """Error code of the answer or of the action."""
    message: str
    seconds: float
    """Duration of a slow answer, or time until a rate limit resets."""

    def matches(self, method: str, path: str) -> bool:
        """Return whether the fault applies to a call."""
        methods = WRITES if self.method == "write" else (method if self.method == "*" else self.method,)
        return method in methods and fnmatchcase(path, self.path)


class Faults:
    """All ordered faults."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: list[Fault] = []

    def order(
        self,
        *,
        fault: str | int,
        method: str = "*",
        path: str = "*",
        times: int | None = 1,
        after: int = 0,
        code: str = "",
        message: str = "",
        seconds: float = 1,
    ) -> None:
        """Order a fault, one of `KINDS`, for the next `times` calls that match, after the first `after`."""
        kind = str(fault)
        if kind not in KINDS:
            raise ValueError(f"fault {kind!r} is not one of {', '.join(KINDS)}")
        usual = CODE_OF[int(kind)] if kind.isdecimal() else "action_failed"
        order = Fault(
            method=method,
            path=path,
            fault=kind,
            times=times,
            after=after,
            code=code or usual,
            message=message or f"ordered fault {kind}",
            seconds=seconds,
        )
        with self._lock:
            self._orders.append(order)

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault ordered for this call, if any, and count it down."""
        with self._lock:
            for order in self._orders:
                if not order.matches(method, path):
                    continue
                if order.after:
                    order.after -= 1
                    continue
                self._count_down(order)
                return order
        return None

    def _count_down(self, order: Fault) -> None:
        if order.times is not None:
            order.times -= 1
            if not order.times:
                self._orders.remove(order)

    def pending(self) -> list[Json]:
        """Return the faults that are not used up."""
        with self._lock:
            return [asdict(order) for order in self._orders]

    def clear(self) -> None:
        """Remove all ordered faults."""
        with self._lock:
            self._orders.clear()
