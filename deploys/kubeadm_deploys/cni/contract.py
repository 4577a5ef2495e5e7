"""The contract of a pod network: what each folder beside this module provides."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from pyinfra.api import Host
from pyinfra.api.command import StringCommand

from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.remote.answers import Reading


class OnControlPlane(Protocol):
    """A deploy that is called for every node and acts on control planes."""

    def __call__(self, *, options: ClusterOptions, topology: Topology) -> object: ...


class OnMachine(Protocol):
    """Read a control plane, and yield the commands that give it the files of the options' release."""

    def __call__(
        self, machine: Host, *, options: ClusterOptions, topology: Topology
    ) -> Iterator[StringCommand]: ...


class OfNode(Protocol):
    """Return what is read of one control plane."""

    def __call__(self, *, options: ClusterOptions, node: Node) -> Reading[Any]: ...


def _no_images(options: ClusterOptions) -> tuple[str, ...]:
    return ()


def _no_manifest(options: ClusterOptions) -> str:
    return ""


def _no_ports(options: ClusterOptions) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Cni:
    """A pod network; with the defaults, the user installs one.

    ``install`` installs it. For an upgrade, ``upgrade_commands`` give each control plane the files, and the leader
    applies the kustomization in ``folder``. ``configure_pool`` has it give Services of type LoadBalancer their addresses.
    ``images`` are pulled beforehand on every node, and ``workloads`` of kube-system have to be available at
    the end. ``reading`` is read of every control plane, ``cluster_readings`` of the cluster. ``paths`` are
    its own files on machines, ``devices`` are prefixes of its network interfaces' names, and ``component`` is
    its name among the releases. ``configuration`` is the name of its file in /etc/cni/net.d, and ``ports`` are
    the ports and protocols on which its nodes reach each other. With ``gateway_route``, nodes need a route to the
    gateway of their pods. ``manifest`` is the name of its release manifest.
    """

    install: OnControlPlane | None = None
    upgrade_commands: OnMachine | None = None
    folder: str = ""
    configure_pool: OnControlPlane | None = None
    images: Callable[[ClusterOptions], tuple[str, ...]] = _no_images
    workloads: tuple[str, ...] = ()
    reading: OfNode | None = None
    cluster_readings: tuple[Reading[Any], ...] = ()
    paths: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    component: str = ""
    configuration: str = ""
    gateway_route: bool = False
    manifest: Callable[[ClusterOptions], str] = _no_manifest
    ports: Callable[[ClusterOptions], tuple[str, ...]] = _no_ports
