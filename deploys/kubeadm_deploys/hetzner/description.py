"""What a user says about the servers of a cluster, checked once, before the API is asked anything.

The description is a group data file of pyinfra: its variables are fields of ``ClusterOptions`` and one
mapping ``hetzner``, whose keys are the fields of ``ClusterDescription``. The servers deploy and the
inventory both read it.
"""

import ast
import dataclasses
import difflib
import ipaddress
import re
import runpy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from hcloud.helpers.labels import LabelValidator

from kubeadm_deploys import checks
from kubeadm_deploys.entry import options_from_data
from kubeadm_deploys.errors import InputError
from kubeadm_deploys.hetzner.names import CONTROL_PLANE, WORKER
from kubeadm_deploys.options import ClusterOptions

VARIABLE = "hetzner"
"""The variable of the description file that holds the servers' part."""

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
    if isinstance(value, str):
        raise ValueError("is not a list of networks; write it like ['203.0.113.7/32']")
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
    problems = list(_unknown_keys(value, known))
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


def describe(variables: Mapping[str, object]) -> ClusterDescription:
    """The description that a file's variables make, checked together with the cluster's options.

    Raises:
        InputError: with every problem of the variables at once.
    """
    problems: list[str] = []
    settings = variables.get(VARIABLE, {})
    if not isinstance(settings, Mapping):
        raise InputError([f"{VARIABLE}: {settings!r} is not a mapping; write it like {{'location': 'fsn1'}}"])
    names = [field.name for field in dataclasses.fields(ClusterDescription) if field.name != "cluster_name"]
    problems.extend(f"{VARIABLE}.{problem}" for problem in _unknown_keys(settings, names))
    others = {name: value for name, value in variables.items() if name != VARIABLE}
    options = description = None
    try:
        options = options_from_data(others)
    except InputError as error:
        problems.extend(problem for problem in error.problems if not problem.startswith("cluster_name:"))
    try:
        description = ClusterDescription(
            cluster_name=_cluster_name(others), **{name: settings[name] for name in names if name in settings}
        )
    except InputError as error:
        problems.extend(_in_settings(error.problems))
    if options and description:
        problems.extend(_overlap_problems(description, options))
    if problems or description is None:
        raise InputError(problems)
    return description


def _cluster_name(variables: Mapping[str, object]) -> str:
    if "cluster_name" not in variables:
        raise InputError(['cluster_name: is missing; give the cluster a name, like cluster_name = "demo"'])
    # The class checks it with the other fields.
    return variables["cluster_name"]  # type: ignore[return-value]


def _in_settings(problems: Iterable[str]) -> Iterator[str]:
    """The problems under the names that the fields have in the file."""
    for problem in problems:
        yield problem if problem.startswith("cluster_name:") else f"{VARIABLE}.{problem}"


def _overlap_problems(description: ClusterDescription, options: ClusterOptions) -> Iterator[str]:
    network = ipaddress.IPv4Network(description.network)
    for field in ("pod_subnet", "service_subnet"):
        subnet = ipaddress.IPv4Network(getattr(options, field))
        if network.overlaps(subnet):
            yield (
                f"{VARIABLE}.network: {network} overlaps {field} {subnet}; choose disjoint networks, "
                "like 10.0.0.0/16, 10.244.0.0/16 and 10.96.0.0/12"
            )


def _unknown_keys(values: Mapping[Any, object], known: list[str]) -> Iterator[str]:
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            cure = f"did you mean {close[0]}?" if close else f"choose {', '.join(known)}"
            yield f"{key}: is not a setting; {cure}"


def load_description(path: Path, *, needs_key: bool = True) -> tuple[ClusterDescription, dict[str, object]]:
    """Read a description file; returns the description and the file's other variables.

    Without ``needs_key`` the public key's file need not be there.

    Raises:
        InputError: with every problem of the file at once.
    """
    variables = _read_variables(path)
    problems: list[str] = []
    description = None
    try:
        description = describe(variables)
        if needs_key:
            read_public_key(description)
    except InputError as error:
        problems.extend(error.problems)
    if description:
        problems.extend(_inventory_name_problems(description, path.stem))
    if problems or description is None:
        raise InputError(f"{path}: {problem}" for problem in problems)
    del variables[VARIABLE]
    return description, variables


def _inventory_name_problems(description: ClusterDescription, inventory: str) -> Iterator[str]:
    """A description has the name of its inventory, and pyinfra puts every host into a group of that name."""
    for pool in description.worker_pools:
        if pool.name == inventory:
            yield f"{VARIABLE}.worker_pools: pool {pool.name!r} has the inventory's name; choose another name"


def read_public_key(description: ClusterDescription) -> str:
    """The text of the public key's file.

    Raises:
        InputError: there is no such file, or it is no public key.
    """
    path = Path(description.ssh_key).expanduser()
    try:
        text = path.read_text().strip()
        load_ssh_public_key(text.encode())
    except OSError as error:
        cure = "name another in hetzner.ssh_key, or make one with: ssh-keygen -t ed25519"
        raise InputError(
            [f"{VARIABLE}.ssh_key: {description.ssh_key!r} cannot be read ({error.strerror}); {cure}"]
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(
            [
                f"{VARIABLE}.ssh_key: {description.ssh_key!r} is not an OpenSSH public key; name one that begins like 'ssh-ed25519 AAAA'"
            ]
        ) from None
    return text


def _read_variables(path: Path) -> dict[str, object]:
    """What pyinfra would take as group data from the file: its variables without what it imports."""
    try:
        tree = ast.parse(path.read_text(), filename=str(path))
        values = runpy.run_path(str(path))
    except OSError as error:
        raise InputError(
            [
                f"description: {str(path)!r} cannot be read ({error.strerror}); check the path, which begins in the "
                "folder that pyinfra is started in"
            ]
        ) from None
    except Exception as error:
        # The file is the user's own code, so anything may happen in it.
        raise InputError(
            [f"{path}: cannot be executed ({type(error).__name__}: {error}); correct the file"]
        ) from None
    imported = {
        (alias.asname or alias.name).partition(".")[0]
        for statement in tree.body
        if isinstance(statement, ast.Import | ast.ImportFrom)
        for alias in statement.names
    }
    names = values.get(
        "__all__", [name for name in values if name not in imported and not name.startswith("__")]
    )
    return {VARIABLE: {}, **{name: values[name] for name in names}}
