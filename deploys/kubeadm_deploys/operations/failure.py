"""How an operation fails while operations run."""

from collections.abc import Callable, Generator
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from pyinfra import host
from pyinfra.api import Host, State
from pyinfra.api.command import FunctionCommand, QuoteString, StringCommand
from pyinfra.api.exceptions import PyinfraError

P = ParamSpec("P")
Command = TypeVar("Command")


def failed(problem: str) -> StringCommand:
    """Return a command that prints a problem and fails; an exception would be shown with its traceback."""
    return StringCommand("echo", QuoteString(problem), ">&2; exit 1")


def calling(function: Callable[..., bool], *arguments: object) -> FunctionCommand:
    """Return a command that calls a function with state, host and arguments, and fails if it returns False.

    pyinfra shows exceptions in a function with their traceback; of a ``PyinfraError``, for example that the
    run has lost its lock, only the message is shown.
    """

    @wraps(function)
    def guarded(state: State, host: Host, *arguments: object) -> bool:
        try:
            return function(state, host, *arguments)
        except PyinfraError as error:
            host.log(str(error))
            return False

    return FunctionCommand(guarded, arguments, {})


def fails_clearly(
    commands: Callable[P, Generator[Command, None, None]],
) -> Callable[P, Generator[Any, None, None]]:
    """Make an operation that raises a ``PyinfraError`` fail on its host with the message.

    Use it below ``@operation()``. While a run is prepared, the exception is raised and ends the run.
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
