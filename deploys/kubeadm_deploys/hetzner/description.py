"""What a user may say of the servers of a cluster, checked once, before the API is asked anything."""

import dataclasses
import difflib
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hcloud.helpers.labels import LabelValidator

from kubeadm_deploys import checks
from kubeadm_deploys.errors import InputError
from kubeadm_deploys.hetzner.names import CONTROL_PLANE, WORKER

_MAX_SERVERS = 100
"""Servers that one network takes (Hetzner's limit)."""

_MAX_SOURCES = 100
"""Networks that one firewall rule takes (Hetzner's limit)."""

_RESERVED_POOLS = ("all", "control_plane", CONTROL_PLANE, "workers")
"""Names that the inventory's own groups and the control planes' servers have."""

_LABEL_OWNERS = {"kubeadm-deploys": "kubeadm-deploys", "hetzner.cloud": "Hetzner"}
"""Whose the labels with these prefixes are; the API refuses those of Hetzner."""

_PUBLIC_GATEWAY = ipaddress.IPv4Address("172.31.1.1")
"""The gateway of every server's public interface (Hetzner's), which no private network may hide."""

_PRIVATE_RANGES = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Servers of one kind."""

    name: str
    role: str
    count: int = 1
    server_type: str = "cx23"
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)


def _setting(default: Any, check: Callable[[object], object], meaning: str) -> Any:
    """A field with its check and the sentence that the README's table of settings shows."""
    return dataclasses.field(default=default, metadata=_metadata(check, meaning))


def _metadata(check: Callable[[object], object], meaning: str) -> dict[str, object]:
    return {"check": check, "meaning": meaning}


def _name(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9][-a-z0-9.]*", value):
        raise ValueError("is not a name of Hetzner's; write it like fsn1, debian-13, cx23 or lb11")
    return value


def _public_key_path(value: object) -> str:
    if not isinstance(value, str) or not value.endswith(".pub"):
        raise ValueError("is not a public key's file; write it like ~/.ssh/id_ed25519.pub")
    return value


def _private_network(value: object) -> str:
    network = ipaddress.IPv4Network(checks.network(value))
    if not any(network.subnet_of(private) for private in _PRIVATE_RANGES):
        raise ValueError("is not a private network; take one of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16")
    if _PUBLIC_GATEWAY in network:
        raise ValueError(
            f"contains {_PUBLIC_GATEWAY}, the gateway of the servers' public interfaces; take another, like 10.0.0.0/16"
        )
    if network.prefixlen > 24:
        raise ValueError("is too small, Hetzner's networks are a /24 or bigger; use a /16, like 10.0.0.0/16")
    return str(network)


def _sources(value: object) -> tuple[str, ...]:
    sources = checks.tuple_of(_source)(value)
    if len(sources) > _MAX_SOURCES:
        raise ValueError(f"has {len(sources)} networks, a firewall rule takes {_MAX_SOURCES}; join some")
    return sources


def _source(value: object) -> str:
    try:
        return str(ipaddress.ip_network(value if isinstance(value, str) else ""))
    except ValueError as error:
        raise ValueError(f"is not a list of networks ({error}); write it like ['203.0.113.7/32']") from None


def _jump_host(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"|[\w.-]+@[\w.:\[\]-]+?(:\d{1,5})?", value):
        raise ValueError("is not a jump host; write it like admin@bastion.example.com:22, or leave it empty")
    return value


def _pool(value: object, *, name: str, role: str, fewest: int) -> Pool:
    """One pool; raises with every problem of it."""
    if isinstance(value, Pool):
        return value
    if not isinstance(value, Mapping):
        raise ValueError("is not a pool; write it like {'count': 1, 'type': 'cx23'}")
    known = ["count", "type"] if role == CONTROL_PLANE else ["count", "type", "labels"]
    problems = list(unknown_keys(value, known))
    count = value.get("count", Pool.count)
    if isinstance(count, bool) or not isinstance(count, int) or not fewest <= count <= _MAX_SERVERS:
        problems.append(f"count: {count!r} is not a number of servers; write {fewest} to {_MAX_SERVERS}")
    server_type = value.get("type", Pool.server_type)
    try:
        _name(server_type)
    except ValueError as error:
        problems.append(f"type: {server_type!r} {error}")
    labels = value.get("labels", {})
    problems.extend(_label_problems(labels))
    if problems:
        raise InputError(problems)
    return Pool(name=name, role=role, count=count, server_type=server_type, labels=dict(labels))


def _label_problems(labels: object) -> Iterator[str]:
    if not isinstance(labels, Mapping) or not all(
        isinstance(text, str) for pair in labels.items() for text in pair
    ):
        yield f"labels: {labels!r} is not a mapping of texts; write it like {{'disk': 'fast'}}"
        return
    for key, text in labels.items():
        if owner := _LABEL_OWNERS.get(key.partition("/")[0]) if "/" in key else None:
            yield f"labels: {key!r} is kept for {owner} itself; use another prefix"
        elif not LabelValidator.validate({key: text}):
            yield (
                f"labels: '{key}={text}' is not a label; use at most 63 letters, digits, '.', '_' and '-', "
                "beginning and ending with a letter or digit"
            )


def _control_plane(value: object) -> Pool:
    return _pool(value, name=CONTROL_PLANE, role=CONTROL_PLANE, fewest=1)


def _pool_name(value: object) -> str:
    """A pool's name; raises with the name in the sentence, which otherwise is about the pool."""
    try:
        name = checks.dns_label(value)
    except ValueError as error:
        raise InputError([f"name: {value!r} {error}"]) from None
    if name in _RESERVED_POOLS:
        raise InputError([f"name: {name!r} is kept for the inventory's own groups; choose another name"])
    return name


def _worker_pools(value: object) -> tuple[Pool, ...]:
    if isinstance(value, tuple) and all(isinstance(pool, Pool) for pool in value):
        return value
    if not isinstance(value, Mapping):
        raise ValueError("is not a mapping of pools; write it like {'worker': {'count': 1, 'type': 'cx23'}}")
    problems: list[str] = []
    pools = []
    for name, pool in value.items():
        try:
            pools.append(_pool(pool, name=_pool_name(name), role=WORKER, fewest=0))
        except InputError as error:
            problems.extend(f"{name}.{problem}" for problem in error.problems)
        except ValueError as error:
            problems.append(f"{name}: {pool!r} {error}")
    if problems:
        raise InputError(problems)
    return tuple(pools)


@dataclass(frozen=True, kw_only=True)
class ClusterDescription:
    """The servers of a cluster; every field but the name has a default.

    Raises:
        InputError: with every wrong field at once, each with its value and what to write instead.
    """

    cluster_name: str = _setting(
        "", checks.dns_label, "Name of the cluster; its servers' names begin with it."
    )
    location: str = _setting("fsn1", _name, "Where the servers are (`hcloud location list`).")
    image: str = _setting("debian-13", _name, "What new servers are made from (`hcloud image list`).")
    ssh_key: str = _setting(
        "~/.ssh/id_ed25519.pub", _public_key_path, "Public key for root; its private key lies beside it."
    )
    network: str = _setting("10.0.0.0/16", _private_network, "IPv4 network between the servers.")
    ssh_from: tuple[str, ...] = _setting(("0.0.0.0/0", "::/0"), _sources, "Who may reach SSH.")
    api_from: tuple[str, ...] = _setting(("0.0.0.0/0", "::/0"), _sources, "Who may reach the Kubernetes API.")
    node_ports_from: tuple[str, ...] = _setting((), _sources, "Who may reach NodePorts; empty: nobody.")
    control_plane: Pool = dataclasses.field(
        default=Pool(name=CONTROL_PLANE, role=CONTROL_PLANE),
        metadata=_metadata(_control_plane, "Control planes: `count` and server `type`."),
    )
    worker_pools: tuple[Pool, ...] = _setting(
        (Pool(name="worker", role=WORKER),),
        _worker_pools,
        "Workers: pools by name, each with `count`, server `type` and `labels` of the servers.",
    )
    load_balancer_type: str = _setting(
        "lb11", _name, "Load balancer before the API servers when there is more than one."
    )
    connect_by: str = _setting(
        "public_ipv4",
        checks.one_of("public_ipv4", "public_ipv6", "private"),
        "Which address of the servers SSH uses.",
    )
    jump_host: str = _setting(
        "", _jump_host, "`user@host[:port]` through which private addresses are reached."
    )

    def __post_init__(self) -> None:
        problems: list[str] = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            try:
                object.__setattr__(self, field.name, field.metadata["check"](value))
            except InputError as error:
                problems.extend(f"{field.name}.{problem}" for problem in error.problems)
            except ValueError as error:
                problems.append(f"{field.name}: {value!r} {error}")
        # The relations are only worth a word when the single values make sense.
        problems = problems or [*_size_problems(self), *_access_problems(self)]
        if problems:
            raise InputError(problems)

    @property
    def pools(self) -> tuple[Pool, ...]:
        """Every pool, the control planes' first."""
        return (self.control_plane, *self.worker_pools)

    @property
    def has_load_balancer(self) -> bool:
        """Several API servers stand behind a load balancer; one is its own endpoint."""
        return self.control_plane.count > 1

    @property
    def is_api_public(self) -> bool:
        """Everybody may reach the API: load balancers have no firewall, so only then may one be public."""
        return {"0.0.0.0/0", "::/0"} <= set(self.api_from)

    def warnings(self) -> Iterator[str]:
        """What works but is probably not meant."""
        count = self.control_plane.count
        if count % 2 == 0:
            yield (
                f"control_plane.count: {count} control planes survive no more losses than {count - 1} "
                "(etcd needs a majority); use 1, 3 or 5"
            )
        if self.has_load_balancer and not self.is_api_public:
            yield (
                "api_from: load balancers have no firewall, so this one gets no public address; the API is "
                f"reached at the control planes themselves, or from inside {self.network}"
            )
        if self.connect_by == "private" and not self.jump_host:
            yield (
                f"connect_by: without jump_host, private addresses are only reached from inside {self.network}"
            )


def server_name(*, cluster_name: str, pool: str, number: int) -> str:
    """What a server is called, and with it its Kubernetes node."""
    return f"{cluster_name}-{pool}-{number}"


def _size_problems(description: ClusterDescription) -> Iterator[str]:
    total = sum(pool.count for pool in description.pools)
    if total > _MAX_SERVERS:
        yield f"worker_pools: {total} servers in all, a network takes {_MAX_SERVERS}; make fewer, bigger ones"
    for pool in description.pools:
        name = server_name(cluster_name=description.cluster_name, pool=pool.name, number=max(pool.count, 1))
        if len(name) > 63:
            yield f"cluster_name: {name!r} would be longer than a host name's 63 characters; choose shorter names"


def _access_problems(description: ClusterDescription) -> Iterator[str]:
    if description.jump_host and description.connect_by != "private":
        yield (
            f"jump_host: {description.jump_host!r} is only used with connect_by 'private', and connect_by is "
            f"{description.connect_by!r}; change one of them"
        )
    if not description.ssh_from and description.connect_by != "private":
        yield (
            f"ssh_from: [] closes SSH, and connect_by is {description.connect_by!r}; name your own network, or "
            "connect by 'private'"
        )


def unknown_keys(values: Mapping[Any, object], known: list[str]) -> Iterator[str]:
    """A sentence for each key that is not known, with the one that was probably meant."""
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            cure = f"did you mean {close[0]}?" if close else f"choose {', '.join(known)}"
            yield f"{key}: is not a setting; {cure}"
