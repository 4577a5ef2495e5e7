"""The one way in which bad input is told to the user."""

from collections.abc import Iterable, Sequence

from pyinfra.api.exceptions import DeployError

_LONGEST = 200
"""Characters of what came from elsewhere that a message shows."""


def shown(value: object) -> str:
    """A value as a message shows it: as Python writes it, as long as somebody reads on."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        # Python refuses to write out integers of thousands of digits, and lists in lists as deep.
        text = f"<{type(value).__name__} too big to show>"
    return shortened(text)


def shortened(text: str) -> str:
    """A text for a message, cut where nobody reads on."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def some(names: Sequence[str]) -> str:
    """Names for a message: all of a few, and of many the first three and how many more there are."""
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} more"


class InputError(DeployError):
    """Wrong configuration: every problem at once, each naming the field, the value and the cure.

    Raised before the first remote command, so nothing has been changed when a user reads it.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        if len(self.problems) == 1:
            super().__init__(self.problems[0])
        else:
            lines = "".join(f"\n  - {problem}" for problem in self.problems)
            super().__init__(f"{len(self.problems)} wrong settings:{lines}")
