"""The interface of a cloud, which the packages beside this module implement."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.remote.answers import Reading


class Install(Protocol):
    """A deploy that installs what the cloud needs in the cluster; ``place`` comes from ``Cloud.place``."""

    def __call__(self, *, options: ClusterOptions, topology: Topology, place: Any) -> object: ...


def _no_place(data: Mapping[str, object], environment: Mapping[str, str]) -> None:
    return None


def _no_images(options: ClusterOptions) -> tuple[str, ...]:
    return ()


def _reboot(*, options: ClusterOptions, node: Node) -> str:
    return "reboot the machine, or check its network configuration"


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """What a cloud adds to a cluster; the defaults add nothing.

    - ``place`` returns the cluster's place in the cloud, from a host's data and the operator's environment;
    - ``install`` installs what the cloud needs in the cluster;
    - ``images`` returns images to pull early on control planes;
    - ``workloads`` of kube-system must be ready at the end of a run;
    - ``reading`` is read from every control plane, ``cluster_readings`` from the cluster;
    - ``paths`` on machines belong to the cloud;
    - ``names_are_host_names``: the cloud finds a node's machine by the node's name;
    - ``reattach`` returns what to do when a node's interface has not come up.
    """

    place: Callable[[Mapping[str, object], Mapping[str, str]], object] = _no_place
    install: Install | None = None
    images: Callable[[ClusterOptions], tuple[str, ...]] = _no_images
    workloads: tuple[str, ...] = ()
    reading: Reading[Any] | None = None
    cluster_readings: tuple[Reading[Any], ...] = ()
    paths: tuple[str, ...] = ()
    names_are_host_names: bool = False
    reattach: Callable[..., str] = _reboot
