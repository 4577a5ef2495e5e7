"""A cluster's place in Hetzner's cloud, and the token with which it creates load balancers and volumes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kubeadm_deploys.model import checks, url_checks
from kubeadm_deploys.model.errors import InputError, shown

_TOKEN_LENGTH = 64
"""Length of every Hetzner API token; the cloud controller manager does not start with any other."""

_DATA = {
    "hcloud_network": "set it to the name of the servers' private network",
    "hcloud_location": "set it to the servers' location, like fsn1",
}


@dataclass(frozen=True, kw_only=True)
class HetznerCloud:
    """A cluster's place in a Hetzner project.

    ``network`` is the name or ID of the private network with the nodes' addresses; ``location`` is where load
    balancers and volumes are created. ``endpoint`` is the API's URL, empty for the official one. ``token``
    belongs to the servers' project; it may be empty once the cluster has it.

    Raises:
        InputError: with every field that is wrong.
    """

    network: str
    location: str
    endpoint: str = ""
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        problems = [
            f"{name}: is missing; {fix}"
            for name, fix in _DATA.items()
            if not getattr(self, name.removeprefix("hcloud_"))
        ]
        for name, value, check in (
            ("hcloud_location", self.location or "fsn1", checks.dns_label),
            ("hcloud_endpoint", self.endpoint, url_checks.url_or_empty),
        ):
            try:
                check(value)
            except ValueError as error:
                problems.append(f"{name}: {shown(value)} {error}")
        if self.token and len(self.token) != _TOKEN_LENGTH:
            problems.append(
                f"HCLOUD_TOKEN: has {len(self.token)} characters, but a Hetzner API token has "
                f"{_TOKEN_LENGTH}; copy it again"
            )
        if problems:
            raise InputError(problems)


def place_from_data(data: Mapping[str, object], environment: Mapping[str, str]) -> HetznerCloud:
    """Return the place from a host's data and the operator's environment.

    Raises:
        InputError: with every problem of the data at once.
    """
    return HetznerCloud(
        network=str(data.get("hcloud_network") or ""),
        location=str(data.get("hcloud_location") or ""),
        endpoint=str(data.get("hcloud_endpoint") or ""),
        token=environment.get("HCLOUD_TOKEN", "").strip(),
    )
