"""A line that no host passes before all have reached it."""

from collections.abc import Generator

from pyinfra.api import operation
from pyinfra.api.command import StringCommand


@operation()
def barrier() -> Generator[StringCommand, None, None]:
    """Make every host wait here for all others; runs nothing.

    pyinfra orders operations by each host's own sequence and not by their lines, so that steps of
    different hosts need a step in common between them. Call it from one line for all hosts.
    """
    yield from ()
