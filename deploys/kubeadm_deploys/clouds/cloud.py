"""The interface of a cloud, which the packages beside this module implement."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pyinfra.api import Host
from pyinfra.api.command import StringCommand

from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.remote.answers import Reading


class Install(Protocol):
    """A deploy that installs what the cloud needs in the cluster; ``place`` comes from ``Cloud.place``."""

    def __call__(self, *, options: ClusterOptions, topology: Topology, place: Any) -> object: ...


class OnMachine(Protocol):
    """Read a control plane, and yield the commands that give it the files of the options' releases."""

    def __call__(self, machine: Host, *, options: ClusterOptions, place: Any) -> Iterator[StringCommand]: ...


def _no_place(data: Mapping[str, object], environment: Mapping[str, str]) -> None:
    return None


def _no_images(options: ClusterOptions) -> tuple[str, ...]:
    return ()


def _reboot(*, options: ClusterOptions, node: Node) -> str:
    return "reboot the machine, or check its network configuration"


def _nothing(leader: Host) -> Iterator[StringCommand]:
    return iter(())


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """What a cloud adds to a cluster; the defaults add nothing.

    - ``place`` returns the cluster's place in the cloud, from a host's data and the operator's environment;
    - ``install`` installs what the cloud needs in the cluster;
    - for an upgrade, ``upgrade_commands`` give each control plane the files, and the leader applies the
      kustomization in ``folder``; once all pods are replaced, ``upgraded_commands`` remove on the leader what only
      the old ones needed;
    - ``images`` returns images to pull early on control planes;
    - ``workloads`` of kube-system must be ready at the end of a run;
    - ``reading`` is read from every control plane, ``cluster_readings`` from the cluster;
    - ``paths`` on machines belong to the cloud;
    - ``names_are_host_names``: the cloud finds a node's machine by the node's name;
    - ``reattach`` returns what to do when a node's interface has not come up.
    """

    place: Callable[[Mapping[str, object], Mapping[str, str]], object] = _no_place
    install: Install | None = None
    upgrade_commands: OnMachine | None = None
    upgraded_commands: Callable[[Host], Iterator[StringCommand]] = _nothing
    folder: str = ""
    images: Callable[[ClusterOptions], tuple[str, ...]] = _no_images
    workloads: tuple[str, ...] = ()
    reading: Reading[Any] | None = None
    cluster_readings: tuple[Reading[Any], ...] = ()
    paths: tuple[str, ...] = ()
    names_are_host_names: bool = False
    reattach: Callable[..., str] = _reboot
