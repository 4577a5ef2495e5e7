"""The edge: from pyinfra's inventory and data to ``ClusterOptions`` and ``Topology``.

Only entry scripts use this; everything below them gets the typed values. No remote command is run.
"""

import dataclasses
import difflib
import ipaddress
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import pyinfra
from pyinfra import logger
from pyinfra.api.connectors import get_all_connectors
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory

from kubeadm_deploys import checks
from kubeadm_deploys.errors import InputError, shortened, shown, some
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.options import DEFAULT_RELEASES, ClusterOptions

T = TypeVar("T")

CONTROL_PLANE_GROUP = "control_plane"
WORKERS_GROUP = "workers"

_NODE_KEYS = (
    "node_name",
    "node_ip",
    "node_interface_mac",
    "provider_id",
    "node_labels",
    "node_taints",
    "node_roles",
)
"""Data of single hosts, beside the fields of ``ClusterOptions``."""

_HETZNER_KEYS = ("hetzner", "hcloud_network", "hcloud_location", "hcloud_endpoint")
"""Data of the Hetzner inventory: the servers' description, and where in the cloud they are."""

_SCRIPT_KEYS = ("confirm", "node", "description")
"""Names and paths that only ``--data`` gives to a script."""

_TEXTS = frozenset(
    [
        *(field.name for field in dataclasses.fields(ClusterOptions) if field.type in (str, tuple[str, ...])),
        *_NODE_KEYS,
        *_HETZNER_KEYS,
        *_SCRIPT_KEYS,
    ]
)
"""Data that are text, or a list of texts."""

_warned: set[str] = set()
_differing: WeakKeyDictionary[Inventory, tuple[str, ...]] = WeakKeyDictionary()


def host_data(host: Host) -> dict[str, Any]:
    """A host's merged pyinfra data, in which every name that ``--data`` gives is the text that was typed."""
    return with_typed_texts(host.data.dict(), typed_data(sys.argv[1:]) if pyinfra.is_cli else {})


def typed_data(arguments: Iterable[str]) -> dict[str, str]:
    """What ``--data KEY=VALUE`` says on pyinfra's command line; the last one of a key counts."""
    found = {}
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            break
        name, equals, value = argument.partition("=")
        if name == "--data":
            key, _, text = (value if equals else next(rest, "")).partition("=")
            found[key] = text
    return found


def with_typed_texts(data: Mapping[str, Any], typed: Mapping[str, str]) -> dict[str, Any]:
    """Data in which pyinfra has taken no text for a number, a boolean or null, as it does with 007, 1e5 and true."""
    return {
        key: typed[key]
        if key in typed and key in _TEXTS and (value is None or isinstance(value, bool | int | float))
        else value
        for key, value in data.items()
    }


def options_from_data(data: Mapping[str, object], *, also: tuple[str, ...] = ()) -> ClusterOptions:
    """Build the options from a host's merged pyinfra data.

    Every key must be an option, a node's key, connector data, one of the script's own (``also``) or begin with ``x_``
    or ``_``: a misspelt option would otherwise silently do nothing.

    Raises:
        InputError: with every problem of the data at once.
    """
    names = [field.name for field in dataclasses.fields(ClusterOptions)]
    problems = [
        _unknown(key, [*names, *_NODE_KEYS])
        for key in data
        if key not in (*names, *_NODE_KEYS, *_HETZNER_KEYS, *also) and key not in _connector_keys()
        if not key.startswith(("_", "x_"))
    ]
    values = {name: data[name] for name in names if name in data}
    unread: tuple[str, ...] = ()
    try:
        if isinstance(values.get("checksums"), str):
            values["checksums"] = read_checksums(Path(str(values["checksums"])))
    except InputError as error:
        unread = error.problems
    try:
        options = ClusterOptions(**values)  # type: ignore[arg-type]  # checked by the class itself
    except InputError as error:
        # To the class, the path of a file that could not be read is one more wrong value.
        others = [problem for problem in error.problems if not (unread and problem.startswith("checksums: "))]
        raise InputError([*problems, *unread, *others]) from None
    if problems:
        raise InputError(problems)
    return options


def flag(name: str, value: object) -> bool:
    """Read a script's own yes or no from pyinfra's data.

    Raises:
        InputError: it is neither.
    """
    return _checked(name, value, checks.flag)


def seconds(name: str, value: object) -> int:
    """Read a script's own time limit from pyinfra's data.

    Raises:
        InputError: it is no number of seconds.
    """
    return _checked(name, value, checks.seconds)


def _checked(name: str, value: object, check: Callable[[object], T]) -> T:
    try:
        return check(value)
    except ValueError as error:
        raise InputError([f"{name}: {shown(value)} {error}"]) from None


def read_checksums(path: Path) -> dict[str, str]:
    """Read a file in the format of sha256sum, with upstream URLs in the place of file names.

    Raises:
        InputError: when the file cannot be read or a line is not of that form.
    """
    try:
        lines = path.expanduser().read_text().splitlines()
    # A home that nobody has is a RuntimeError, a path that no file system can store a ValueError.
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

    Hosts that ``--limit`` leaves out belong to the cluster all the same.

    Raises:
        InputError: with every problem of the nodes at once, or the hosts differ in options of the cluster.
    """
    refuse_differing_options(inventory)
    topology = Topology(
        control_planes=_group(inventory, CONTROL_PLANE_GROUP), workers=_group(inventory, WORKERS_GROUP)
    )
    members = {node.host for node in topology.nodes}
    if strays := [host.name for host in inventory if host.name not in members]:
        raise InputError(
            f"{name}: host is in neither of the groups {CONTROL_PLANE_GROUP} and {WORKERS_GROUP}; "
            "put it into one, or take it out of the inventory"
            for name in strays
        )
    topology.check(options)
    for warning in topology.warnings():
        # Deploy files run once for each host; the operator needs to read it once.
        if warning not in _warned:
            _warned.add(warning)
            logger.warning(f"--> Warning: {warning}")
    return topology


def refuse_differing_options(inventory: Inventory) -> None:
    """Check that all hosts of an inventory have the same options, but for those that decide about one machine alone.

    Each host would act on its own options, also those that ``--limit`` leaves out today. What ``--data`` gives is the
    same for all.

    Raises:
        InputError: with every option that differs, the hosts and their values.
    """
    hosts = list(inventory)
    # Deploy files run once for each host, and pyinfra's own name for the inventory stands for more than one.
    real = hosts[0].inventory if hosts else inventory
    if real not in _differing:
        _differing[real] = tuple(differing_options({host.name: host.data.dict() for host in hosts}))
    if _differing[real]:
        raise InputError(_differing[real])


def differing_options(data: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    """Each option that is not the same on all hosts, with them and their values; ``data`` is that of every host."""
    for field in dataclasses.fields(ClusterOptions):
        written = [its.get(field.name, dataclasses.MISSING) for its in data.values()]
        if field.metadata["per_machine"] or all(value == written[0] for value in written):
            continue
        hosts: list[tuple[object, list[str]]] = []
        for host, value in zip(data, written, strict=True):
            meaning = _meaning(field, value)
            names = next((names for known, names in hosts if known == meaning), None)
            if names is None:
                hosts.append((meaning, [host]))
            else:
                names.append(host)
        if len(hosts) > 1:
            values = ", ".join(
                f"{'not set' if value is dataclasses.MISSING else shown(value)} on {some(names)}"
                for value, names in hosts
            )
            yield f"{field.name}: is {values}; every host needs the same, so set it once, in group_data/all.py"


def _meaning(field: "dataclasses.Field[Any]", value: object) -> object:
    """A value of an option in its normal form; where there is none the default, or what the cluster says."""
    if value is dataclasses.MISSING:
        return value if field.name in DEFAULT_RELEASES else getattr(ClusterOptions(), field.name)
    with suppress(ValueError):
        return field.metadata["check"](value)
    return value


def node_of(host: Host) -> Node:
    """Who a machine is: what its data say, and for name and address else what the inventory calls it."""
    data = host_data(host)
    bare_name = host.name.rpartition("/")[2]
    ip = _as_text(data.get("node_ip", _as_address(data.get("ssh_hostname")) or _as_address(bare_name)))
    return Node(
        host=host.name,
        name=_as_text(data.get("node_name", bare_name)),
        ip=ip,
        address=_as_text(data.get("ssh_hostname", ip)),
        interface_mac=_as_text(data.get("node_interface_mac", "")).lower(),
        provider_id=_as_text(data.get("provider_id", "")),
        labels=data.get("node_labels", {}),
        taints=_as_tuple(data.get("node_taints")),
        roles=_as_tuple(data.get("node_roles", ())),
    )


def _group(inventory: Inventory, name: str) -> tuple[Node, ...]:
    return tuple(node_of(host) for host in inventory.get_group(name, default=[]))


def _as_text(value: object) -> str:
    """What the topology then checks; a name like 1 may have come as a number."""
    return value if isinstance(value, str) else shown(value)


def _as_tuple(value: Any) -> Any:
    """A list, or text with commas, as a tuple; anything else is as it was, to be refused with all that is wrong."""
    return checks.items(value) if isinstance(value, list | str) else value


def _as_address(value: object) -> str:
    try:
        return str(ipaddress.IPv4Address(_as_text(value)))
    except ValueError:
        return ""


def _connector_keys() -> set[str]:
    return {key for connector in get_all_connectors().values() for key in connector.data_meta}


def _unknown(key: str, names: list[str]) -> str:
    close = difflib.get_close_matches(key, names, n=1)
    cure = f"did you mean {close[0]}?" if close else "remove it, or begin your own data's names with x_"
    field = shortened(key) if key.isprintable() else shown(key)
    return f"{field}: is not an option; {cure}"


def refuse_missing_files(arguments: Iterable[str]) -> None:
    """Check that every Python file named on pyinfra's command line is there.

    Raises:
        InputError: naming each one that is not.
    """
    # What follows a "=" is the value of --data, which may name a file too.
    paths = [
        argument if Path(argument).is_file() else argument.rpartition("=")[2]
        for argument in arguments
        if argument.endswith(".py")
    ]
    missing = [path for path in paths if not Path(path).is_file()]
    if missing:
        raise InputError(
            f"{path}: there is no such file; check the path, it is read from here" for path in missing
        )
