"""Convert pyinfra's inventory and data to ``ClusterOptions`` and ``Topology``, without remote commands.

Only entry scripts use this module; all other code gets the typed values.
"""

import ipaddress
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import pyinfra
from pydantic import TypeAdapter, ValidationError
from pyinfra import logger
from pyinfra.api.connectors import get_all_connectors
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory

from kubeadm_deploys.model import checks
from kubeadm_deploys.model.errors import InputError, meant, shortened, shown, some
from kubeadm_deploys.model.host_data import HostData
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import (
    CLOUD_DATA,
    DEFAULT_RELEASES,
    RENAMED,
    ClusterOptions,
    Scope,
    scope_of,
    set_twice,
    with_new_names,
)

T = TypeVar("T")

CONTROL_PLANE_GROUP = "control_plane"
WORKERS_GROUP = "workers"

_NODE_KEYS = tuple(HostData.model_fields)
_CLOUD_KEYS = tuple(key for keys in CLOUD_DATA.values() for key in keys)

_SCRIPT_KEYS = ("confirm", "node", "description", "folder", "verify", "identity", "backup", "from")
"""Names and paths that scripts take from ``--data`` only."""

_TEXTS = frozenset(
    [
        *(name for name, field in ClusterOptions.model_fields.items() if field.annotation not in (bool, int)),
        *(
            old
            for old, new in RENAMED.items()
            if ClusterOptions.model_fields[new].annotation not in (bool, int)
        ),
        *_NODE_KEYS,
        *_CLOUD_KEYS,
        *_SCRIPT_KEYS,
    ]
)
"""Data whose value is text, or a list of texts."""

_OF_HOSTS = {"kubelet_configuration": "node_kubelet_configuration"}
"""Data of single hosts that are added to an option of the cluster."""

_NOT_SET = object()
"""Marks an option that is not in a host's data."""

_warned: set[str] = set()
_differing: WeakKeyDictionary[Inventory, tuple[str, ...]] = WeakKeyDictionary()


def host_data(host: Host) -> dict[str, Any]:
    """Return a host's merged pyinfra data, with text values of ``--data`` exactly as typed."""
    return with_typed_texts(host.data.dict(), typed_data(sys.argv[1:]) if pyinfra.is_cli else {})


def typed_data(arguments: Iterable[str]) -> dict[str, str]:
    """Return the ``--data KEY=VALUE`` arguments of pyinfra's command line; the last one of a key counts."""
    values = {}
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            break
        name, equals, value = argument.partition("=")
        if name == "--data":
            key, _, text = (value if equals else next(rest, "")).partition("=")
            values[key] = text
    return values


def with_typed_texts(data: Mapping[str, Any], typed: Mapping[str, str]) -> dict[str, Any]:
    """Undo pyinfra's conversion of typed text like 007, 1e5 and true to numbers, booleans or null."""
    return {
        key: typed[key]
        if key in typed and key in _TEXTS and (value is None or isinstance(value, bool | int | float))
        else value
        for key, value in data.items()
    }


def options_from_data(data: Mapping[str, object], *, also: tuple[str, ...] = ()) -> ClusterOptions:
    """Build the options from a host's merged pyinfra data.

    Every key must be an option, a node's key, connector data, a key of the script (``also``), or start with
    ``x_`` or ``_``. Otherwise a misspelt option would be ignored silently.

    Raises:
        InputError: lists every problem of the data.
    """
    for old in data.keys() & RENAMED.keys():
        _warn_once(f"the option {old} was renamed to {RENAMED[old]} in 0.2; the old name works until 0.3")
    twice = set_twice(data)
    data = {RENAMED.get(key, key): value for key, value in data.items()}
    names = list(ClusterOptions.model_fields)
    problems = twice + [
        _unknown(key, [*names, *_NODE_KEYS])
        for key in data
        if key not in (*names, *_NODE_KEYS, *_CLOUD_KEYS, *also) and key not in _connector_keys()
        if not key.startswith(("_", "x_"))
    ]
    values = {name: data[name] for name in names if name in data}
    file_problems: tuple[str, ...] = ()
    try:
        if isinstance(values.get("checksums"), str):
            values["checksums"] = read_checksums(Path(str(values["checksums"])))
    except InputError as error:
        file_problems = error.problems
    try:
        options = ClusterOptions(**values)
    except InputError as error:
        # ClusterOptions also reports the path of an unreadable file as a wrong value of checksums.
        others = [
            problem for problem in error.problems if not (file_problems and problem.startswith("checksums: "))
        ]
        raise InputError([*problems, *file_problems, *others]) from None
    if problems:
        raise InputError(problems)
    return options


def flag(name: str, value: object) -> bool:
    """Read a boolean of a script from pyinfra's data.

    Raises:
        InputError: the value is not a boolean.
    """
    return _checked(name, value, checks.flag)


def seconds(name: str, value: object) -> int:
    """Read a time limit of a script from pyinfra's data.

    Raises:
        InputError: the value is not a number of seconds.
    """
    return _checked(name, value, checks.seconds)


def number(name: str, value: object) -> int:
    """Read a number of things of a script from pyinfra's data, 1 or more.

    Raises:
        InputError: the value is not such a number.
    """
    return _checked(name, value, checks.number)


def _checked(name: str, value: object, check: Callable[[object], T]) -> T:
    try:
        return check(value)
    except ValueError as error:
        raise InputError([f"{name}: {shown(value)} {error}"]) from None


def read_checksums(path: Path) -> dict[str, str]:
    """Read a file in the format of sha256sum, with upstream URLs instead of file names.

    Raises:
        InputError: the file cannot be read, or a line has another format.
    """
    try:
        lines = path.expanduser().read_text().splitlines()
    # An unknown user's home raises RuntimeError, an invalid path ValueError.
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            [f"checksums: {shown(str(path))} cannot be read ({shortened(str(error))}); name a sha256sum file"]
        ) from None
    checksums = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            sha256, _, url = line.partition("  ")
            if not url.startswith("https://"):
                raise InputError(
                    [
                        f"checksums: line {number} of {str(path)!r} is {shown(line)}; write '<sha256>  https://...'"
                    ]
                )
            checksums[url.strip()] = sha256.strip()
    return checksums


def topology_from_inventory(inventory: Inventory, *, options: ClusterOptions) -> Topology:
    """Read the groups ``control_plane`` and ``workers``, and check them as a whole.

    Hosts that ``--limit`` excludes still belong to the cluster.

    Raises:
        InputError: lists every problem of the nodes, or every cluster option in which hosts differ.
    """
    refuse_differing_options(inventory)
    topology = Topology(
        control_planes=_group(inventory, CONTROL_PLANE_GROUP), workers=_group(inventory, WORKERS_GROUP)
    )
    members = {node.host for node in topology.nodes}
    if strays := [host.name for host in inventory if host.name not in members]:
        raise InputError(
            f"{name}: host is in neither of the groups {CONTROL_PLANE_GROUP} and {WORKERS_GROUP}; "
            "put it into one, or remove it from the inventory"
            for name in strays
        )
    topology.check(options)
    for warning in topology.warnings():
        # Deploy files run once for each host.
        _warn_once(warning)
    return topology


def _warn_once(warning: str) -> None:
    if warning not in _warned:
        _warned.add(warning)
        logger.warning(f"--> Warning: {warning}")


def refuse_differing_options(inventory: Inventory) -> None:
    """Check that all hosts of an inventory have the same options, except those of single machines.

    Hosts that ``--limit`` excludes are checked too, because each host acts on its own options. Options from
    ``--data`` are the same for all hosts.

    Raises:
        InputError: lists every option that differs, with the hosts and their values.
    """
    hosts = list(inventory)
    # Deploy files run once for each host. pyinfra's global ``inventory`` is a proxy, so key by the real one.
    real = hosts[0].inventory if hosts else inventory
    if real not in _differing:
        _differing[real] = tuple(
            differing_options({host.name: with_new_names(host.data.dict()) for host in hosts})
        )
    if _differing[real]:
        raise InputError(_differing[real])


def differing_options(data: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    """Yield a problem for each option that differs between hosts, with their values; ``data`` is by host."""
    for option in ClusterOptions.model_fields:
        written = [host_values.get(option, _NOT_SET) for host_values in data.values()]
        if scope_of(option) is Scope.MACHINE or all(value == written[0] for value in written):
            continue
        hosts: list[tuple[object, list[str]]] = []
        for host, value in zip(data, written, strict=True):
            normalized = _normalized(option, value)
            names = next((names for known, names in hosts if known == normalized), None)
            if names is None:
                hosts.append((normalized, [host]))
            else:
                names.append(host)
        if len(hosts) > 1:
            values = ", ".join(
                f"{'not set' if value is _NOT_SET else _shown(option, value)} on {some(names)}"
                for value, names in hosts
            )
            own = f"; what only some hosts need is {_OF_HOSTS[option]}" if option in _OF_HOSTS else ""
            yield f"{option}: is {values}; set the same value for all hosts, in group_data/all.py{own}"


def _shown(option: str, value: object) -> str:
    return shown(value) if ClusterOptions.model_fields[option].repr else "its own"


def _normalized(option: str, value: object) -> object:
    """Return a normalized value; if not set, the default, or ``_NOT_SET`` if it follows the cluster."""
    if value is _NOT_SET:
        return value if option in DEFAULT_RELEASES else getattr(ClusterOptions(), option)
    try:
        return _reader(option).validate_python(value)
    except ValidationError:
        return value


@cache
def _reader(option: str) -> TypeAdapter[object]:
    """Return what reads the values of an option, whatever the other options are."""
    return TypeAdapter(ClusterOptions.model_fields[option].rebuild_annotation())


def node_of(host: Host) -> Node:
    """Return a host's node from its data; name and address default to its name in the inventory."""
    data = host_data(host)
    bare_name = host.name.rpartition("/")[2]
    ip = _as_text(data.get("node_ip", _as_address(data.get("ssh_hostname")) or _as_address(bare_name)))
    return Node(
        host=host.name,
        name=_as_text(data.get("node_name", bare_name)),
        ip=ip,
        # As pyinfra: without ssh_hostname it connects to the host's name.
        address=_as_text(data.get("ssh_hostname", _as_address(bare_name) or ip)),
        interface_mac=_as_text(data.get("node_interface_mac", "")).lower(),
        provider_id=_as_text(data.get("provider_id", "")),
        labels=data.get("node_labels", {}),
        taints=_as_tuple(data.get("node_taints")),
        roles=_as_tuple(data.get("node_roles", ())),
        kubelet_configuration=_as_document(data.get("node_kubelet_configuration", {})),
    )


def _group(inventory: Inventory, name: str) -> tuple[Node, ...]:
    return tuple(node_of(host) for host in inventory.get_group(name, default=[]))


def _as_text(value: object) -> str:
    """Return a value as text, which the topology checks later; a name like 1 may be a number."""
    return value if isinstance(value, str) else shown(value)


def _as_tuple(value: Any) -> Any:
    """Return a list or comma-separated text as a tuple, other values unchanged: the topology refuses them."""
    return checks.items(value) if isinstance(value, list | str) else value


def _as_document(value: Any) -> Any:
    """Return a mapping as a plain copy, other values unchanged: the topology refuses them."""
    try:
        return checks.document(value)
    except ValueError:
        return value


def _as_address(value: object) -> str:
    try:
        return str(ipaddress.IPv4Address(_as_text(value)))
    except ValueError:
        return ""


def _connector_keys() -> set[str]:
    return {key for connector in get_all_connectors().values() for key in connector.data_meta}


def _unknown(key: str, names: list[str]) -> str:
    fix = meant(key, names, otherwise="remove it, or start the names of your own data with x_")
    field = shortened(key) if key.isprintable() else shown(key)
    return f"{field}: is not an option; {fix}"


def refuse_missing_files(arguments: Iterable[str]) -> None:
    """Check that every Python file named on pyinfra's command line exists.

    Raises:
        InputError: names each missing file.
    """
    # The text after "=" is a value of --data, which may also name a file.
    paths = [
        argument if Path(argument).is_file() else argument.rpartition("=")[2]
        for argument in arguments
        if argument.endswith(".py")
    ]
    missing = [path for path in paths if not Path(path).is_file()]
    if missing:
        raise InputError(
            f"{path}: the file does not exist; check the path, relative to the current directory"
            for path in missing
        )
