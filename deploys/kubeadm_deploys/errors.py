"""The one way in which bad input is told to the user."""

from collections.abc import Iterable

from pyinfra.api.exceptions import DeployError


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
