"""How bad input is reported to the user."""

import difflib
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network

from packaging.version import Version
from pyinfra.api.exceptions import DeployError

_LONGEST = 200
"""Characters of foreign text that a message shows."""


def shown(value: object) -> str:
    """Return the ``repr`` of a value for a message, without a password in a URL, cut to a readable length."""
    if isinstance(value, str):
        return shortened(repr(_without_user_info(value)))
    try:
        text = repr(str(value) if isinstance(value, IPv4Network | IPv4Address | Version) else value)
    except (ValueError, RecursionError):
        # Python refuses to print integers with thousands of digits, and lists that are nested as deep.
        text = f"<{type(value).__name__} too big to show>"
    return shortened(_without_user_info(text))


def _without_user_info(text: str) -> str:
    """Return a text without what may be user and password of a URL, also of a misspelt one."""
    before, _, host = text.rpartition("@")
    return f"<redacted>@{host}" if ":" in before else text


def shortened(text: str) -> str:
    """Return a text for a message, cut to a readable length."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def meant(wrong: str, known: Iterable[str], *, otherwise: str) -> str:
    """Return the fix for an unknown name: a suggestion of the most similar known name, or ``otherwise``."""
    close = difflib.get_close_matches(wrong, list(known), n=1)
    return f"did you mean {close[0]}?" if close else otherwise


def some(names: Sequence[str], *, separator: str = ", ") -> str:
    """Return names for a message: all if they are few, else the first three and the number of the others."""
    if len(names) <= 4:
        return separator.join(names)
    return f"{separator.join(names[:3])} and {len(names) - 3} more"


class InputError(DeployError):
    """Wrong configuration: lists every problem, each with the field, the value and the fix.

    It is raised before the first remote command, so nothing has been changed.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        if len(self.problems) == 1:
            super().__init__(self.problems[0])
        else:
            lines = "".join(f"\n  - {problem}" for problem in self.problems)
            super().__init__(f"{len(self.problems)} problems:{lines}")
