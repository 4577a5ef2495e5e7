"""The file that describes a cluster on Hetzner.

It is a group data file of pyinfra: its variables are fields of ``ClusterOptions`` and one mapping
``hetzner``, whose keys are the fields of ``ClusterDescription``. The servers deploy and the inventory
both read it.
"""

import ast
import dataclasses
import ipaddress
import runpy
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from kubeadm_deploys.entry import options_from_data
from kubeadm_deploys.errors import InputError
from kubeadm_deploys.hetzner.description import ClusterDescription, unknown_keys
from kubeadm_deploys.options import ClusterOptions

VARIABLE = "hetzner"
"""The variable of the description file that holds the servers' part."""


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
    problems.extend(f"{VARIABLE}.{problem}" for problem in unknown_keys(settings, names))
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
