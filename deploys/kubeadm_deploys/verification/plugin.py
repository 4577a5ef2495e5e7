"""The pytest plugin of the distribution (entry point ``pytest11``).

Every pytest run of the environment loads it, so it adds no option and no fixture unless the run names this
package. A conftest.py cannot replace it: pytest reads those of ``--pyargs`` packages only after it has parsed
the command line and rejected ``--inventory``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

PACKAGE = "kubeadm_deploys.verification"


def pytest_load_initial_conftests(early_config: Any, args: Sequence[str]) -> None:
    """Add the options while pytest still accepts new ones, if the command line names the suites."""
    if any(names_suites(argument) for argument in args):
        early_config.pluginmanager.import_plugin(f"{PACKAGE}.options")


def names_suites(argument: str) -> bool:
    """Return whether an argument is this package, one of its modules or tests, by import name or path."""
    target = argument.partition("::")[0]
    if target == __name__:
        # "-p" with this plugin's name loads it from a checkout; it does not request a suite.
        return False
    if target == PACKAGE or target.startswith(f"{PACKAGE}."):
        return True
    folder = Path(__file__).resolve().parent
    path = Path(target).resolve()
    return path == folder or folder in path.parents
