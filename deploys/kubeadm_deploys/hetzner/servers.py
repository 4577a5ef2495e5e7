"""The servers deploy: read, plan, print, and do it in one operation."""

import difflib
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path

from hcloud import Client
from pyinfra import host, inventory, logger
from pyinfra.api.command import FunctionCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State

from kubeadm_deploys.entry import host_data
from kubeadm_deploys.errors import InputError
from kubeadm_deploys.hetzner.client import HetznerError
from kubeadm_deploys.hetzner.description import ClusterDescription
from kubeadm_deploys.hetzner.description_file import read_public_key
from kubeadm_deploys.hetzner.interrupt import stopping_at_interrupt
from kubeadm_deploys.hetzner.names import recorded_servers
from kubeadm_deploys.hetzner.plan import Plan, make_plan, needs_catalogue
from kubeadm_deploys.hetzner.project_reading import read_catalogue, read_prices, read_project
from kubeadm_deploys.hetzner.steps import Pace, run_steps

DEFAULT_DESCRIPTION = Path("inventories/group_data/hetzner.py")

_DATA = ("description", "confirm")
"""What ``--data`` may say to the deploys."""


def description_file() -> Path:
    """The description that ``--data description=FILE`` names, after checking that this is the operator's machine.

    Raises:
        InputError: the deploy would run on other machines than the operator's own, or ``--data`` says something
            else.
    """
    if len(inventory) != 1 or host.name != "@local":
        raise InputError(
            [
                f"inventory: {host.name!r} is not the machine that asks Hetzner's API; write pyinfra -y @local ..."
            ]
        )
    if problems := list(_data_problems(inventory.get_override_data())):
        raise InputError(problems)
    return Path(str(host_data(host).get("description", DEFAULT_DESCRIPTION)))


def _data_problems(given: Iterable[str]) -> Iterator[str]:
    """A mistyped ``description`` would otherwise make the servers of another cluster."""
    for name in given:
        if name not in _DATA:
            close = difflib.get_close_matches(name, _DATA, n=1)
            cure = f"did you mean {close[0]}?" if close else f"choose {' or '.join(_DATA)}"
            yield f"--data {name}: is not known here; {cure}"


def plan_servers(client: Client, description: ClusterDescription) -> Plan:
    """Read what is there and compare; nothing is written.

    Raises:
        HetznerError: the API cannot be read.
        InputError: what is missing cannot be ordered.
    """
    project = read_project(client, cluster_name=description.cluster_name)
    catalogue = None
    if needs_catalogue(description, project):
        catalogue = read_catalogue(client, image=description.image)
    return make_plan(
        description=description,
        public_key=read_public_key(description),
        project=project,
        prices=read_prices(client),
        catalogue=catalogue,
    )


def make_servers(
    client: Client, plan: Plan, *, report: Callable[[str], None] = logger.info, pace: Pace | None = None
) -> None:
    """Do what the plan says.

    Raises:
        HetznerError: with every step that failed, and what is done and kept.
    """
    try:
        run_steps(client, plan.steps, known=plan.known, report=report, pace=pace)
    finally:
        # The inventory must not go on with an answer from before.
        recorded_servers(plan.cluster_name).unlink(missing_ok=True)


def tell(lines: Iterable[str]) -> None:
    """Print lines where pyinfra prints its own, which is not where ``--json`` goes."""
    for line in lines:
        logger.info(line)


@operation()
def do(work: Callable[[], None], todo: bool) -> Generator[FunctionCommand, None, None]:
    """Do work that asks Hetzner's API, if there is any.

    pyinfra prints a traceback for an exception in a function, and for False only that it failed.
    """
    if not todo:
        host.noop("there is nothing to do")
        return

    def run(state: State, host: Host) -> bool:
        try:
            with stopping_at_interrupt():
                work()
        except HetznerError as error:
            logger.error(f"--> {error}")
            return False
        return True

    yield FunctionCommand(run, [], {})
