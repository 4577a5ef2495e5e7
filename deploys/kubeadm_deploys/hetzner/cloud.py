"""Where in Hetzner's cloud a cluster is, and the token with which it makes load balancers and volumes there."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from kubeadm_deploys import checks
from kubeadm_deploys.errors import InputError, shown
from kubeadm_deploys.options import ClusterOptions

_TOKEN_LENGTH = 64
"""Of every token of Hetzner's API; the cloud controller manager does not start with any other."""

_DATA = {
    "hcloud_network": "set it to the name of the private network that the servers are in",
    "hcloud_location": "set it to the servers' location, like fsn1",
}


@dataclass(frozen=True, kw_only=True)
class HetznerCloud:
    """A cluster's place in a Hetzner project.

    ``network`` is the name or ID of the private network that has the nodes' addresses, ``location`` where load
    balancers and volumes are made. ``endpoint`` is the API's URL, empty for the official one. ``token`` belongs to
    the servers' project; it may be empty once the cluster has it.

    Raises:
        InputError: with every field that is wrong.
    """

    network: str
    location: str
    endpoint: str = ""
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        problems = [
            f"{name}: is missing; {cure}"
            for name, cure in _DATA.items()
            if not getattr(self, name.removeprefix("hcloud_"))
        ]
        for name, value, check in (
            ("hcloud_location", self.location or "fsn1", checks.dns_label),
            ("hcloud_endpoint", self.endpoint, checks.url_or_empty),
        ):
            try:
                check(value)
            except ValueError as error:
                problems.append(f"{name}: {shown(value)} {error}")
        if self.token and len(self.token) != _TOKEN_LENGTH:
            problems.append(
                f"HCLOUD_TOKEN: has {len(self.token)} characters, and a token of Hetzner's API has "
                f"{_TOKEN_LENGTH}; copy it again"
            )
        if problems:
            raise InputError(problems)


def cloud_from_data(
    data: Mapping[str, object], *, options: ClusterOptions, environment: Mapping[str, str] = os.environ
) -> HetznerCloud | None:
    """Read a host's pyinfra data and the operator's environment; None for a cluster outside of Hetzner's cloud.

    Raises:
        InputError: with every problem of the data at once.
    """
    if options.cloud_provider != "hetzner":
        return None
    return HetznerCloud(
        network=str(data.get("hcloud_network") or ""),
        location=str(data.get("hcloud_location") or ""),
        endpoint=str(data.get("hcloud_endpoint") or ""),
        token=environment.get("HCLOUD_TOKEN", "").strip(),
    )
