"""The contract of a kind of API endpoint: what each module beside this one provides."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pyinfra.api import Host
from pyinfra.api.command import StringCommand

from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.remote.answers import Reading


class WorkerAddress(Protocol):
    """Return the address to which a worker resolves the name of the API.

    ``control_planes`` are the members of the cluster whose API server answers. ``current`` is the address to
    which the worker resolves the name now, empty if it does not.
    """

    def __call__(self, *, options: ClusterOptions, control_planes: tuple[Node, ...], current: str) -> str: ...


class OnNode(Protocol):
    """A deploy that is called for every node."""

    def __call__(self, *, topology: Topology) -> object: ...


@dataclass(frozen=True, kw_only=True)
class EndpointKind:
    """How workers reach the API by its name.

    A kind that runs something on machines says what is read of them (``reading``), how it is installed on
    workers (``install``) and removed from any machine (``remove``), at which ``address`` a worker finds it,
    and which commands point such a worker to other control planes (``repoint``). ``units`` and ``paths`` are
    its own on a machine, the unit's file included; ``programs`` listen on ``ports``.
    """

    worker_address: WorkerAddress
    reading: Reading[Any] | None = None
    install: OnNode | None = None
    remove: OnNode | None = None
    address: str = ""
    repoint: Callable[[Host, Topology], list[StringCommand]] | None = None
    units: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
