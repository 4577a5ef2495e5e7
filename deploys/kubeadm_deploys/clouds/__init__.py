"""Clouds, one package each; each provides a ``Cloud``.

A new cloud needs a package here, an entry in ``CLOUDS``, a value of the option ``cloud_provider``, and beside that
option the names of its host data in ``CLOUD_DATA`` and of its components' releases in ``CLOUD_RELEASES``.
"""

import os
from collections.abc import Mapping

from kubeadm_deploys.clouds.cloud import Cloud
from kubeadm_deploys.clouds.hetzner import CLOUD as HETZNER
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.model.options import ClusterOptions

CLOUDS: dict[str, Cloud] = {"none": Cloud(), "hetzner": HETZNER}


def cloud_of(options: ClusterOptions) -> Cloud:
    """Return the cloud that the options name."""
    return CLOUDS[options.cloud_provider]


def place_from_data(
    data: Mapping[str, object], *, options: ClusterOptions, environment: Mapping[str, str] = os.environ
) -> object:
    """Return a cluster's place in its cloud, from a host's data and the environment; None without a cloud.

    Raises:
        InputError: with every problem of the data at once.
    """
    return cloud_of(options).place(data, environment)


def install_cloud_controller(*, options: ClusterOptions, topology: Topology, place: object) -> None:
    """Install what the cluster's cloud needs in the cluster; ``place`` is the result of ``place_from_data``.

    Raises:
        InputError: something that the cloud needs is missing.
    """
    cloud = cloud_of(options)
    if cloud.install and place is not None:
        cloud.install(options=options, topology=topology, place=place)
