"""The parts of the servers deploys: read, plan, print, and make the API calls in one operation."""

from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path

from pyinfra import host, inventory, logger
from pyinfra.api.command import FunctionCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State

from kubeadm_deploys.hetzner.api.client import Client, HetznerError
from kubeadm_deploys.hetzner.api.interrupt import stopping_at_interrupt
from kubeadm_deploys.hetzner.api.names import recorded_servers
from kubeadm_deploys.hetzner.api.project_reading import read_catalogue, read_prices, read_project
from kubeadm_deploys.hetzner.api.steps import RetryPolicy, run_steps
from kubeadm_deploys.hetzner.servers.description import ClusterDescription
from kubeadm_deploys.hetzner.servers.description_file import read_public_key
from kubeadm_deploys.hetzner.servers.plan import Plan, make_plan, needs_catalogue
from kubeadm_deploys.inventory.data import host_data
from kubeadm_deploys.model.errors import InputError, meant

DEFAULT_DESCRIPTION = Path("inventories/group_data/hetzner.py")

_DATA = ("description", "confirm")
"""Names that the deploys accept in ``--data``."""


def description_file() -> Path:
    """Return the path in ``--data description=FILE``, or the default, after checking that the host is @local.

    Raises:
        InputError: the inventory is not @local alone, or ``--data`` has an unknown name.
    """
    if len(inventory) != 1 or host.name != "@local":
        raise InputError(
            [
                f"inventory: {host.name!r} is not the machine that calls Hetzner's API; "
                "run pyinfra -y @local ..."
            ]
        )
    if problems := list(_data_problems(inventory.get_override_data())):
        raise InputError(problems)
    return Path(str(host_data(host).get("description", DEFAULT_DESCRIPTION)))


def _data_problems(given: Iterable[str]) -> Iterator[str]:
    """Yield unknown names: a mistyped ``description`` would otherwise create another cluster's servers."""
    for name in given:
        if name not in _DATA:
            fix = meant(name, _DATA, otherwise=f"choose {' or '.join(_DATA)}")
            yield f"--data {name}: is not known here; {fix}"


def plan_servers(client: Client, description: ClusterDescription) -> Plan:
    """Read the project and plan the changes; write nothing.

    Raises:
        HetznerError: the API cannot be read.
        InputError: missing resources cannot be ordered.
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
    client: Client,
    plan: Plan,
    *,
    report: Callable[[str], None] = logger.info,
    retry_policy: RetryPolicy | None = None,
) -> None:
    """Carry out the plan.

    Raises:
        HetznerError: with every step that failed, and what is done and kept.
    """
    try:
        run_steps(client, plan.steps, known=plan.known, report=report, retry_policy=retry_policy)
    finally:
        # The inventory must not use an answer from before this run.
        recorded_servers(plan.cluster_name).unlink(missing_ok=True)


def print_lines(lines: Iterable[str]) -> None:
    """Print lines where pyinfra prints its own, so that they do not mix with ``--json``."""
    for line in lines:
        logger.info(line)


@operation()
def run_api_calls(work: Callable[[], None], todo: bool) -> Generator[FunctionCommand, None, None]:
    """Run ``work``, which calls Hetzner's API, if there is anything to do.

    pyinfra prints a traceback for an exception in a function, and for False only that it failed.
    """
    if not todo:
        host.noop("nothing to do")
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
