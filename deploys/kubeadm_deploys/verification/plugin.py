"""The pytest plugin of the distribution (entry point ``pytest11``).

It is loaded into every pytest run of the environment, so it does nothing unless the run names this
package: no option, no fixture. A conftest.py cannot take its place, because pytest reads those of
``--pyargs`` packages only after the command line, when ``--inventory`` was already refused.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

PACKAGE = "kubeadm_deploys.verification"


def pytest_load_initial_conftests(early_config: Any, args: Sequence[str]) -> None:
    """Add the options while pytest can still take new ones, if the command line names the suites."""
    if any(names_suites(argument) for argument in args):
        early_config.pluginmanager.import_plugin(f"{PACKAGE}.options")


def names_suites(argument: str) -> bool:
    """Tell whether an argument is this package, one of its modules or tests, by import name or by path."""
    target = argument.partition("::")[0]
    if target == __name__:
        # "-p" and this plugin's own name, for a checkout that is not installed, is no wish to run a suite.
        return False
    if target == PACKAGE or target.startswith(f"{PACKAGE}."):
        return True
    folder = Path(__file__).resolve().parent
    path = Path(target).resolve()
    return path == folder or folder in path.parents
