"""The description of a cluster's servers, checked before the first API call."""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PlainValidator, model_validator

from kubeadm_deploys.hetzner.api.client import LabelValidator
from kubeadm_deploys.hetzner.api.names import CONTROL_PLANE, WORKER
from kubeadm_deploys.model import checks
from kubeadm_deploys.model import values as typed
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.validation import Checked, Input

_MAX_SERVERS = 100
"""Servers per network (Hetzner's limit)."""

_MAX_SOURCES = 100
"""Networks per firewall rule (Hetzner's limit)."""

_RESERVED_POOLS = ("all", "control_plane", CONTROL_PLANE, "workers")
"""Names of the inventory's own groups and of the control planes' pool."""

_LABEL_OWNERS = {"kubeadm-deploys": "kubeadm-deploys", "hetzner.cloud": "Hetzner"}
"""Owners of reserved label prefixes; the API refuses Hetzner's."""

_PUBLIC_GATEWAY = ipaddress.IPv4Address("172.31.1.1")
"""Hetzner's gateway of every server's public interface; a private network must not contain it."""

_PRIVATE_RANGES = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))


EVERYWHERE = ("0.0.0.0/0", "::/0")

Source = IPv4Network | IPv6Network


def _name(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9][-a-z0-9.]*", value):
        raise ValueError("is not a valid Hetzner name; write it like fsn1, debian-13, cx23 or lb11")
    return value


def _public_key_path(value: object) -> str:
    if not isinstance(value, str) or not value.endswith(".pub"):
        raise ValueError("is not a public key file; write it like ~/.ssh/id_ed25519.pub")
    return value


def _private_network(value: object) -> IPv4Network:
    network = checks.network(value)
    if not any(network.subnet_of(private) for private in _PRIVATE_RANGES):
        raise ValueError("is not a private network; use one of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16")
    if _PUBLIC_GATEWAY in network:
        raise ValueError(
            f"contains {_PUBLIC_GATEWAY}, the gateway of the servers' public interfaces; use another, "
            "like 10.0.0.0/16"
        )
    if network.prefixlen > 24:
        raise ValueError("is too small, Hetzner's networks are at least a /24; use a /16, like 10.0.0.0/16")
    return network


def _sources(value: object) -> tuple[Source, ...]:
    sources = checks.tuple_of(_source)(value)
    if len(sources) > _MAX_SOURCES:
        raise ValueError(
            f"has {len(sources)} networks, but a firewall rule takes at most {_MAX_SOURCES}; merge some"
        )
    return sources


def _source(value: object) -> Source:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    try:
        return ipaddress.ip_network(value if isinstance(value, str) else "")
    except ValueError as error:
        raise ValueError(f"is not a list of networks ({error}); write it like ['203.0.113.7/32']") from None


def _jump_host(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"|[\w.-]+@[\w.:\[\]-]+?(:\d{1,5})?", value):
        raise ValueError("is not a jump host; write it like admin@bastion.example.com:22, or leave it empty")
    return value


def _labels(value: object) -> Mapping[str, str]:
    if not isinstance(value, Mapping) or not all(
        isinstance(text, str) for pair in value.items() for text in pair
    ):
        raise ValueError("is not a mapping of strings; write it like {'disk': 'fast'}")
    for key, text in value.items():
        if owner := _LABEL_OWNERS.get(key.partition("/")[0]) if "/" in key else None:
            raise ValueError(f"has {key!r}, whose prefix is reserved for {owner}; use another prefix")
        if not LabelValidator.validate({key: text}):
            raise ValueError(
                f"has '{key}={text}', which is not a valid label; use at most 63 letters, digits, '.', '_' "
                "and '-', beginning and ending with a letter or digit"
            )
    return dict(value)


def _count(value: object, *, fewest: int = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not fewest <= value <= _MAX_SERVERS:
        raise ValueError(f"is not a number of servers; write {fewest} to {_MAX_SERVERS}")
    return value


def _pool_name(value: object) -> str:
    name = checks.dns_label(value)
    if name in _RESERVED_POOLS:
        raise ValueError("is reserved for the inventory's own groups; choose another name")
    return name


HetznerName = Annotated[str, PlainValidator(_name)]
Sources = Annotated[tuple[Source, ...], PlainValidator(_sources)]


class Pool(Checked):
    """A pool of servers of one type."""

    name: str
    role: str
    count: int
    server_type: str
    labels: Mapping[str, str]


class ControlPlanePool(Checked):
    """The description of the control planes' servers."""

    count: Annotated[int, PlainValidator(partial(_count, fewest=1))] = 1
    type: HetznerName = "cx23"


class WorkerPool(Checked):
    """The description of one pool of workers' servers."""

    count: Annotated[int, PlainValidator(_count)] = 1
    type: HetznerName = "cx23"
    labels: Annotated[Mapping[str, str], PlainValidator(_labels)] = {}


def _setting(default: object, meaning: str, *, example: object = None) -> Any:
    """Return a field with its documentation."""
    return Field(default=default, description=meaning, examples=[example] if example else None)


class ClusterDescription(Input):
    """The servers of a cluster; every field except the name has a default.

    Raises:
        InputError: with every wrong field at once, each with its value and the fix.
    """

    elsewhere: ClassVar[frozenset[str]] = frozenset({"cluster_name"})

    cluster_name: typed.DnsLabel = _setting("", "Name of the cluster, with which its servers' names begin.")
    location: HetznerName = _setting("fsn1", "Location of the servers (`hcloud location list`).")
    image: HetznerName = _setting("debian-13", "Image of new servers (`hcloud image list`).")
    ssh_key: Annotated[str, PlainValidator(_public_key_path)] = _setting(
        "~/.ssh/id_ed25519.pub", "Public key for root; the private key is beside it."
    )
    network: Annotated[IPv4Network, PlainValidator(_private_network)] = _setting(
        "10.0.0.0/16", "Private IPv4 network of the servers."
    )
    ssh_from: Sources = _setting(EVERYWHERE, "Networks that may reach SSH.")
    api_from: Sources = _setting(EVERYWHERE, "Networks that may reach the Kubernetes API.")
    node_ports_from: Sources = _setting((), "Networks that may reach NodePorts; empty: none.")
    control_plane: ControlPlanePool = _setting(
        {}, "Control planes: `count` and server `type`.", example={"count": 1, "type": "cx23"}
    )
    worker_pools: Mapping[Annotated[str, PlainValidator(_pool_name)], WorkerPool] = _setting(
        {"worker": {}},
        "Workers: pools by name, each with `count`, server `type` and `labels` of the servers.",
        example={"worker": {"count": 1, "type": "cx23"}},
    )
    load_balancer_type: HetznerName = _setting("lb11", "Type of the load balancer for several API servers.")
    connect_by: Literal["public_ipv4", "public_ipv6", "private"] = _setting(
        "public_ipv4", "Server address that SSH uses."
    )
    jump_host: Annotated[str, PlainValidator(_jump_host)] = _setting(
        "", "Jump host for private addresses: `user@host[:port]`."
    )

    def __init__(self, /, **values: Any) -> None:
        # For type checkers: users write text, not the fields' own types.
        super().__init__(**values)

    @model_validator(mode="after")
    def _check_relations(self) -> Self:
        """Check the fields against each other, once each is valid by itself."""
        if problems := [*_size_problems(self), *_access_problems(self)]:
            raise InputError(problems)
        return self

    @property
    def pools(self) -> tuple[Pool, ...]:
        """All pools, the control planes' first."""
        control_plane = Pool(
            name=CONTROL_PLANE,
            role=CONTROL_PLANE,
            count=self.control_plane.count,
            server_type=self.control_plane.type,
            labels={},
        )
        workers = (
            Pool(name=name, role=WORKER, count=pool.count, server_type=pool.type, labels=pool.labels)
            for name, pool in self.worker_pools.items()
        )
        return (control_plane, *workers)

    @property
    def has_load_balancer(self) -> bool:
        """Whether the API servers have a load balancer; a single one is its own endpoint."""
        return self.control_plane.count > 1

    @property
    def is_api_public(self) -> bool:
        """Whether everyone may reach the API. Only then is the load balancer, without a firewall, public."""
        return set(_sources(EVERYWHERE)) <= set(self.api_from)

    def warnings(self) -> Iterator[str]:
        """Yield a warning for each setting that works but is probably not intended."""
        count = self.control_plane.count
        if count % 2 == 0:
            yield (
                f"control_plane.count: {count} control planes tolerate no more failures than {count - 1} "
                "would (etcd needs a majority); use 1, 3 or 5"
            )
        if self.has_load_balancer and not self.is_api_public:
            yield (
                "api_from: load balancers have no firewall, so this one gets no public address; reach the "
                f"API at the control planes themselves, or from inside {self.network}"
            )
        if self.connect_by == "private" and not self.jump_host:
            yield (
                "connect_by: without jump_host, private addresses can only be reached from inside "
                f"{self.network}"
            )


def server_name(*, cluster_name: str, pool: str, number: int) -> str:
    """Return the name of a server and of its Kubernetes node."""
    return f"{cluster_name}-{pool}-{number}"


def _size_problems(description: ClusterDescription) -> Iterator[str]:
    total = sum(pool.count for pool in description.pools)
    if total > _MAX_SERVERS:
        yield f"worker_pools: {total} servers in total, a network takes {_MAX_SERVERS}; use fewer bigger ones"
    for pool in description.pools:
        name = server_name(cluster_name=description.cluster_name, pool=pool.name, number=max(pool.count, 1))
        if len(name) > 63:
            yield (
                f"cluster_name: {name!r} would be longer than a host name's 63 characters; "
                "choose shorter names"
            )


def _access_problems(description: ClusterDescription) -> Iterator[str]:
    if description.jump_host and description.connect_by != "private":
        yield (
            f"jump_host: {description.jump_host!r} is only used with connect_by 'private', but connect_by is "
            f"{description.connect_by!r}; change one of them"
        )
    if not description.ssh_from and description.connect_by != "private":
        yield (
            f"ssh_from: [] blocks SSH, but connect_by is {description.connect_by!r}; add your own network, "
            "or set connect_by to 'private'"
        )
