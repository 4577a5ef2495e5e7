"""Compare and change single fields of a configuration document of the kubelets or of kube-proxy. Pure functions.

A name is the path of a field, like ``evictionHard/memory.available``. As with ``live_configuration``, only fields that
this package has set are taken back; then the component uses its default.
"""

from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any

from kubeadm_deploys.cluster.document_differences import LEFT_OUT_WHEN_ZERO, same
from kubeadm_deploys.model.errors import shown

_FIXED = frozenset({"apiVersion", "kind", "cgroupDriver", "staticPodPath", "rotateCertificates"})
"""Fields of either configuration that stay as kubeadm and this package set them."""


def names_of(fields: Mapping[str, Any], *, above: str = "") -> frozenset[str]:
    """Return the paths of all fields of a configuration."""
    names: set[str] = set()
    for key, value in fields.items():
        path = f"{above}{key}"
        if isinstance(value, Mapping) and value:
            names |= names_of(value, above=f"{path}/")
        elif path not in _FIXED:
            names.add(path)
    return frozenset(names)


def value_of(fields: Mapping[str, Any], name: str) -> object:
    """Return the value at a path, None if it is not set."""
    found: Any = fields
    for key in name.split("/"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def equal(name: str, wanted: object, found: object) -> bool:
    """Return whether two values of a field mean the same."""
    return same(wanted, found) or (found is None and not wanted and name in LEFT_OUT_WHEN_ZERO)


def changed(
    found: Mapping[str, Any], *, wanted: Mapping[str, Any], claimed: Collection[str]
) -> dict[str, object]:
    """Return the values of the fields that differ by their path; None takes a field back."""
    names = names_of(wanted)
    values: dict[str, object] = {
        name: value_of(wanted, name)
        for name in sorted(names)
        if not equal(name, value_of(wanted, name), value_of(found, name))
    }
    back = [name for name in sorted(set(claimed) - names) if value_of(found, name) is not None]
    return values | dict.fromkeys(back)


def with_values(found: Mapping[str, Any], values: Mapping[str, object]) -> dict[str, Any]:
    """Return a configuration with other values, by path; None removes a field, and a mapping that gets empty."""
    new: dict[str, Any] = deepcopy(dict(found))
    for name, value in values.items():
        *folders, last = name.split("/")
        places = [new]
        for folder in folders:
            if not isinstance(places[-1].get(folder), dict):
                places[-1][folder] = {}
            places.append(places[-1][folder])
        if value is not None:
            places[-1][last] = value
            continue
        places[-1].pop(last, None)
        for place, folder in reversed(list(zip(places, folders, strict=False))):
            if not place[folder]:
                del place[folder]
    return new


def edits(current: Mapping[str, Any], values: Mapping[str, object], *known: Mapping[str, Any]) -> list[str]:
    """Return the fields about to be changed whose ``current`` value is neither wanted nor a ``known`` one."""
    return [
        f"{name} is {shown(value_of(current, name))}"
        for name, value in values.items()
        if not _either_way(name, value, value_of(current, name))
        and not any(_either_way(name, value_of(each, name), value_of(current, name)) for each in known)
    ]


def _either_way(name: str, one: object, other: object) -> bool:
    """Return whether two found values are equal; to ``equal``, an unset wanted value is equal to any."""
    return equal(name, one, other) and equal(name, other, one)
