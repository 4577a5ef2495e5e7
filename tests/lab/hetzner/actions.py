"""Actions: work that continues in threads after the API has answered."""

import itertools
import sys
import threading
from collections.abc import Callable, Sequence
from contextvars import ContextVar

from tests.lab.hetzner.backend import BackendError
from tests.lab.hetzner.clock import now
from tests.lab.hetzner.errors import ApiError
from tests.lab.hetzner.records import Action, Json

Work = Callable[[], None]

ordered_error: ContextVar[Json | None] = ContextVar("ordered_error", default=None)
"""The error of an ordered fault, with which the next action of this request ends."""


class Actions:
    """The actions of a project. Callers hold the project's lock, except for `run` and `close`."""

    def __init__(self, *, lock: threading.RLock, ids: "itertools.count[int]", seconds: float) -> None:
        self.seconds = seconds
        """Minimum duration of an action, so that a client sees it run."""
        self.all: dict[int, Action] = {}
        self._lock = lock
        self._ids = ids
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []

    def begin(
        self, command: str, *resources: tuple[str, int], locks: Sequence[tuple[str, int]] | None = None
    ) -> Action:
        """Record a running action; it locks all its resources, or those in `locks`."""
        action = Action(
            id=next(self._ids),
            command=command,
            resources=resources,
            started=now(),
            locks=frozenset(resources if locks is None else locks),
            ordered_error=ordered_error.get(),
        )
        ordered_error.set(None)
        self.all[action.id] = action
        return action

    def done(self, command: str, *resources: tuple[str, int]) -> Action:
        """Record an action whose work is already done; an ordered fault still makes it fail."""
        action = self.begin(command, *resources, locks=())
        self._finish(action, error=action.ordered_error)
        return action

    def run(self, steps: Sequence[tuple[Action, Work]], *, undo: Work | None = None) -> None:
        """Do the work of these actions one after the other; after a failure the rest fail too."""
        thread = threading.Thread(target=self._work, args=(steps, undo), daemon=True)
        with self._lock:
            self._threads = [one for one in self._threads if one.is_alive()]
            thread.start()
            self._threads.append(thread)

    def running_on(self, kind: str, resource_id: int) -> bool:
        """Return whether a running action locks this resource."""
        return any(
            action.status == "running" and (kind, resource_id) in action.locks for action in self.all.values()
        )

    def close(self) -> None:
        """Make running actions end early, and wait for their threads."""
        self._closing.set()
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join()

    def _work(self, steps: Sequence[tuple[Action, Work]], undo: Work | None) -> None:
        for number, (action, work) in enumerate(steps):
            error = self._attempt(action, work)
            if error is None:
                with self._lock:
                    self._finish(action, error=None)
                continue
            if undo:
                self._attempt_undo(undo)
            with self._lock:
                for unfinished, _ in steps[number:]:
                    self._finish(unfinished, error=error)
            return

    def _attempt(self, action: Action, work: Work) -> Json | None:
        self._closing.wait(self.seconds / 2)
        with self._lock:
            action.progress = 50
        if action.ordered_error:
            return action.ordered_error
        try:
            work()
        except BackendError as error:
            return {"code": "action_failed", "message": str(error)}
        except ApiError as error:
            return {"code": error.code, "message": error.message}
        except Exception as error:  # Otherwise the action would never end, and hide the cause.
            return {"code": "action_failed", "message": f"{type(error).__name__}: {error}"}
        self._closing.wait(self.seconds / 2)
        return None

    def _attempt_undo(self, undo: Work) -> None:
        try:
            undo()
        except BackendError as error:
            print(f"a failed action was not undone: {error}", file=sys.stderr)

    def _finish(self, action: Action, *, error: Json | None) -> None:
        action.status = "error" if error else "success"
        action.error = error
        action.progress = 100
        action.finished = now()


def action_view(action: Action) -> Json:
    """Return an action in the API's format."""
    return {
        "id": action.id,
        "command": action.command,
        "status": action.status,
        "progress": action.progress,
        "started": action.started,
        "finished": action.finished,
        "resources": [{"id": resource_id, "type": kind} for kind, resource_id in action.resources],
        "error": action.error,
    }
