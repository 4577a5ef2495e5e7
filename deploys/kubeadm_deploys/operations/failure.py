"""How an operation fails while operations run."""

from pyinfra.api.command import QuoteString, StringCommand


def failed(problem: str) -> StringCommand:
    """A command that prints a problem and fails: an exception at this point is shown with its traceback."""
    return StringCommand("echo", QuoteString(problem), ">&2; exit 1")
