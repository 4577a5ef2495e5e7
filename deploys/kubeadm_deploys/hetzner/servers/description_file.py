"""The file that describes a cluster on Hetzner.

It is a group data file of pyinfra: its variables are fields of ``ClusterOptions`` and a mapping ``hetzner``
with fields of ``ClusterDescription``. The servers deploy and the inventory both read it.
"""

import ast
import runpy
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from kubeadm_deploys.hetzner.servers.description import ClusterDescription
from kubeadm_deploys.inventory.data import options_from_data
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.options import ClusterOptions

VARIABLE = "hetzner"
"""The variable of the description file that describes the servers."""


def describe(variables: Mapping[str, object]) -> ClusterDescription:
    """Return the description in a file's variables, checked together with the cluster's options.

    Raises:
        InputError: with every problem of the variables at once.
    """
    problems: list[str] = []
    settings = variables.get(VARIABLE, {})
    if not isinstance(settings, Mapping):
        raise InputError([f"{VARIABLE}: {settings!r} is not a mapping; write it like {{'location': 'fsn1'}}"])
    if "cluster_name" in settings:
        problems.append(f"{VARIABLE}.cluster_name: is not a setting; write cluster_name beside {VARIABLE}")
    others = {name: value for name, value in variables.items() if name != VARIABLE}
    options = description = None
    try:
        options = options_from_data(others)
    except InputError as error:
        problems.extend(problem for problem in error.problems if not problem.startswith("cluster_name:"))
    try:
        description = ClusterDescription(
            **{str(name): value for name, value in settings.items() if name != "cluster_name"},
            cluster_name=_cluster_name(others),
        )
    except InputError as error:
        problems.extend(_in_settings(error.problems))
    if options and description:
        problems.extend(_overlap_problems(description, options))
    if problems or description is None:
        raise InputError(problems)
    return description


def _cluster_name(variables: Mapping[str, Any]) -> Any:
    if "cluster_name" not in variables:
        raise InputError(['cluster_name: is missing; give the cluster a name, like cluster_name = "demo"'])
    return variables["cluster_name"]


def _in_settings(problems: Iterable[str]) -> Iterator[str]:
    """Yield the problems with the field names that the file uses."""
    for problem in problems:
        yield problem if problem.startswith("cluster_name:") else f"{VARIABLE}.{problem}"


def _overlap_problems(description: ClusterDescription, options: ClusterOptions) -> Iterator[str]:
    network = description.network
    for field, subnet in (("pod_subnet", options.pod_subnet), ("service_subnet", options.service_subnet)):
        if network.overlaps(subnet):
            yield (
                f"{VARIABLE}.network: {network} overlaps {field} {subnet}; choose disjoint networks, "
                "like 10.0.0.0/16, 10.244.0.0/16 and 10.96.0.0/12"
            )


def load_description(path: Path, *, needs_key: bool = True) -> tuple[ClusterDescription, dict[str, object]]:
    """Read a description file; return the description and the file's other variables.

    Without ``needs_key`` the public key file may be missing.

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
    """Yield a problem for a pool named like the inventory, in whose group pyinfra puts every host."""
    for name in description.worker_pools:
        if name == inventory:
            yield f"{VARIABLE}.worker_pools: pool {name!r} has the inventory's name; choose another name"


def read_public_key(description: ClusterDescription) -> str:
    """Return the text of the public key file.

    Raises:
        InputError: the file cannot be read, or is not a public key.
    """
    path = Path(description.ssh_key).expanduser()
    try:
        text = path.read_text().strip()
        load_ssh_public_key(text.encode())
    except OSError as error:
        fix = "set another hetzner.ssh_key, or create a key with: ssh-keygen -t ed25519"
        raise InputError(
            [f"{VARIABLE}.ssh_key: {description.ssh_key!r} cannot be read ({error.strerror}); {fix}"]
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(
            [
                f"{VARIABLE}.ssh_key: {description.ssh_key!r} is not an OpenSSH public key; "
                "use a file that begins like 'ssh-ed25519 AAAA'"
            ]
        ) from None
    return text


def _read_variables(path: Path) -> dict[str, object]:
    """Return what pyinfra would read as group data from the file: its variables without its imports."""
    try:
        tree = ast.parse(path.read_text(), filename=str(path))
        values = runpy.run_path(str(path))
    except OSError as error:
        raise InputError(
            [
                f"description: {str(path)!r} cannot be read ({error.strerror}); check the path, which is "
                "relative to the folder where pyinfra is started"
            ]
        ) from None
    except Exception as error:
        # The file is the user's own code and may raise anything.
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
