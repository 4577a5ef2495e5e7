"""How an operation fails while operations run."""

from collections.abc import Callable, Generator
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from pyinfra import host
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.exceptions import PyinfraError

P = ParamSpec("P")
Command = TypeVar("Command")


def failed(problem: str) -> StringCommand:
    """A command that prints a problem and fails: an exception at this point is shown with its traceback."""
    return StringCommand("echo", QuoteString(problem), ">&2; exit 1")


def fails_clearly(
    commands: Callable[P, Generator[Command, None, None]],
) -> Callable[P, Generator[Any, None, None]]:
    """Have an operation that cannot read what it needs fail on its host with that sentence, below ``@operation()``.

    While a run is prepared the exception itself ends it.
    """

    @wraps(commands)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> Generator[Any, None, None]:
        try:
            yield from commands(*args, **kwargs)
        except PyinfraError as error:
            if not host.state.is_executing:
                raise
            yield failed(str(error))

    return guarded
