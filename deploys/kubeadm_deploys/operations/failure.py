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
    """A command that prints a problem and fails: an exception at this point is shown with its traceback."""
    return StringCommand("echo", QuoteString(problem), ">&2; exit 1")


def calling(function: Callable[..., bool], *arguments: object) -> FunctionCommand:
    """A command that calls a function with the state, the host and these arguments, and fails when that gives False.

    pyinfra shows any exception in a function with its traceback: one with a sentence of its own, as that the run has lost
    its lock, is shown with that alone.
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
