"""A point in a deploy that no host passes before all have reached it."""

from collections.abc import Generator

from pyinfra.api import operation
from pyinfra.api.command import StringCommand


@operation()
def barrier() -> Generator[StringCommand, None, None]:
    """Make every host wait here for all others; runs nothing.

    pyinfra orders operations by each host's own sequence, not by their lines, so steps of different hosts are
    only ordered by a step that they share. Call it from one line for all hosts.
    """
    yield from ()
