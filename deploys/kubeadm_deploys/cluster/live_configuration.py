"""Compare ``cluster_configuration`` with the ClusterConfiguration that a cluster has stored. Pure functions.

A field that the options do not name stays as it is, unless this package has set it: then the options had it before,
and it is taken back. The cluster's record has the names of these fields.
"""

import ipaddress
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

from kubeadm_deploys.facts.cluster_settings import ClusterSettingsState
from kubeadm_deploys.model.cluster_configuration import (
    COMPONENTS,
    LISTS,
    OURS,
    PERIODS,
    fields_of,
    with_extras,
)
from kubeadm_deploys.model.errors import shown
from kubeadm_deploys.model.findings import Finding, Severity
from kubeadm_deploys.model.options import ClusterOptions

Entries = Mapping[str, Sequence[Mapping[str, Any]]]
"""The entries of a list by their name: an argument may have several."""

BY_HAND = (
    'set it back, or change the cluster by hand (Kubernetes documentation, "Reconfiguring a kubeadm cluster")'
)
"""The fix for what this package does not change on a live cluster."""

_option_finding = partial(Finding, check="cluster-options", host="")

LIVE = {
    "apiServer": "kube-apiserver",
    "controllerManager": "kube-controller-manager",
    "scheduler": "kube-scheduler",
}
"""The static pods whose fields are changed on a live cluster, by their place in the ClusterConfiguration."""


def names_of(configuration: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of all fields of a configuration, like ``apiServer.extraArgs audit-log-path``."""
    names = set()
    for component in COMPONENTS:
        for field in LISTS:
            names |= {f"{component}.{field} {name}" for name in _entries(configuration, component, field)}
    for key, value in configuration.items():
        if key in ("featureGates", "dns") and isinstance(value, Mapping):
            names |= {f"{key}.{name}" for name in value}
        elif not isinstance(value, Mapping):
            names.add(key)
    return frozenset(names)


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the wanted fields that the cluster has otherwise: name, wanted value and found value, as text."""
    for name in sorted(names_of(wanted)):
        value, actual = value_of(wanted, name), value_of(found, name)
        if value != actual:
            yield name, shown(value), "unset" if actual is None else shown(actual)


def unnamed(wanted: Mapping[str, Any], found: Mapping[str, Any], *, claimed: Collection[str]) -> list[str]:
    """Return the extra arguments, volumes and environment of the cluster that neither options nor record name."""
    ours = {f"{component}.extraArgs {each['name']}" for component, each in _ours()}
    known = names_of(wanted) | set(claimed) | ours
    return sorted(name for name in names_of(found) if " " in name and name not in known)


def is_live(name: str) -> bool:
    """Return whether a field is changed on a live cluster; etcd's, for example, is set only at its creation."""
    return name in PERIODS or name.partition(".")[0] in LIVE


def target(
    found: Mapping[str, Any], *, wanted: Mapping[str, Any], claimed: Collection[str]
) -> dict[str, Any]:
    """Return the ClusterConfiguration that a live cluster is to have; ``claimed`` fields are taken back."""
    new: dict[str, Any] = deepcopy(dict(found))
    for name in taken_back(found, wanted=wanted, claimed=claimed):
        _remove(new, name)
    live = {key: value for key, value in wanted.items() if key in LIVE or key in PERIODS}
    return with_extras(new, live)


def taken_back(found: Mapping[str, Any], *, wanted: Mapping[str, Any], claimed: Collection[str]) -> list[str]:
    """Return the live fields that this package has set and the options no longer name."""
    ours = {f"{component}.extraArgs {each['name']}": each["value"] for component, each in _ours()}
    return sorted(
        name
        for name in set(claimed) - names_of(wanted)
        if is_live(name) and value_of(found, name) not in (None, ours.get(name))
    )


def _remove(configuration: dict[str, Any], name: str) -> None:
    path, _, entry = name.partition(" ")
    if not entry:
        # kubeadm then stores its default.
        configuration.pop(path, None)
        return
    component, _, field = path.rpartition(".")
    ours = [dict(each) for of, each in _ours() if of == component and each["name"] == entry]
    kept = [each for each in configuration[component][field] if each.get("name") != entry]
    configuration[component][field] = kept + (ours if field == "extraArgs" else [])
    if not configuration[component][field]:
        del configuration[component][field]


_SANS = "certificate_sans "
"""How the record names an additional name of the API server's certificate."""


def sans_of(configuration: Mapping[str, Any]) -> list[str]:
    """Return the additional names in the API servers' certificates."""
    return list((configuration.get("apiServer") or {}).get("certSANs") or ())


def san_names(sans: Iterable[str]) -> frozenset[str]:
    """Return how the record names these names of the certificate."""
    return frozenset(f"{_SANS}{_san(san)}" for san in sans)


def with_sans(
    configuration: Mapping[str, Any],
    *,
    wanted: Collection[str],
    needed: Collection[str],
    claimed: Collection[str],
) -> dict[str, Any]:
    """Return the configuration with the wanted names for the certificate, which keeps those that others have set.

    ``needed`` are the names without which the cluster would not work; they are never taken back.
    """
    found = sans_of(configuration)
    kept_names = {_san(name) for name in (*wanted, *needed)}
    back = {name.removeprefix(_SANS) for name in claimed if name.startswith(_SANS)} - kept_names
    known = {_san(name) for name in found}
    names = [name for name in found if _san(name) not in back]
    names += [name for name in wanted if _san(name) not in known]
    api_server = {**(configuration.get("apiServer") or {}), "certSANs": names}
    return {**configuration, "apiServer": api_server} if names != found else dict(configuration)


def _san(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower()


def edits(manifest: Mapping[str, Any], rendered: Mapping[str, Any]) -> list[str]:
    """Return what a manifest has otherwise than kubeadm rendered it, as text; empty if they are equal."""
    if manifest == rendered:
        return []
    actual, expected = arguments_of(manifest), arguments_of(rendered)
    added = [each for each in actual if each not in expected]
    lacking = [f"without {each}" for each in expected if each not in actual]
    return [*added, *lacking] or ["other fields than its arguments"]


def arguments_of(manifest: Mapping[str, Any]) -> list[str]:
    """Return the arguments of a static pod's container, without the program."""
    try:
        return [str(word) for word in manifest["spec"]["containers"][0]["command"][1:]]
    except (KeyError, IndexError, TypeError):
        return []


def value_of(configuration: Mapping[str, Any], name: str) -> object:
    """Return the comparable value of a field by its name; None if it is not set."""
    path, _, entry = name.partition(" ")
    if entry:
        component, _, field = path.rpartition(".")
        values = [
            _comparable(field, each) for each in _entries(configuration, component, field).get(entry, ())
        ]
        return (values[0] if len(values) == 1 else values) if values else None
    found: Any = configuration
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return _period(found) if path.endswith("ValidityPeriod") and isinstance(found, str) else found


def _comparable(field: str, entry: Mapping[str, Any]) -> object:
    if field == "extraArgs":
        return entry.get("value", "")
    # kubeadm leaves out what is false or empty.
    return {key: value for key, value in entry.items() if key != "name" and value not in (False, "", None)}


def _period(text: str) -> object:
    """Return the seconds of a duration like 8760h0m0s, or the text itself if it is none."""
    seconds, number = 0.0, ""
    for letter in text:
        if letter in "hms" and number:
            seconds, number = seconds + float(number) * {"h": 3600, "m": 60, "s": 1}[letter], ""
        elif letter.isdigit() or letter == ".":
            number += letter
        else:
            return text
    return seconds if not number else text


def _entries(
    configuration: Mapping[str, Any], component: str, field: str
) -> dict[str, list[Mapping[str, Any]]]:
    entries: dict[str, list[Mapping[str, Any]]] = {}
    for each in fields_of(configuration, component).get(field) or ():
        entries.setdefault(str(each.get("name", "")), []).append(each)
    return entries


def _ours() -> Iterator[tuple[str, Mapping[str, str]]]:
    for component, arguments in OURS.items():
        for argument in arguments:
            yield component, argument


def findings(options: ClusterOptions, settings: ClusterSettingsState) -> Iterator[Finding]:
    """Yield errors about fields that cannot be changed on a live cluster, and warnings about unknown ones."""
    wanted, found = options.cluster_configuration, settings.configuration
    if found is None:
        return
    for name, value, actual in differences(wanted, found):
        if not is_live(name):
            yield _option_finding(
                severity=Severity.ERROR,
                found=(
                    f"cluster_configuration: {name} is {value}, but the cluster has {actual}, and this package sets "
                    "it only when a cluster is created"
                ),
                fix=BY_HAND,
            )
    recorded = settings.record.configuration
    claimed = recorded.names if recorded else frozenset()
    for name in unnamed(wanted, found, claimed=claimed):
        yield _option_finding(
            severity=Severity.WARNING,
            found=f"the cluster has {name}, which cluster_configuration does not have; it stays",
            fix="add it to cluster_configuration",
        )
    for name in sorted(claimed - names_of(wanted)):
        if not is_live(name) and value_of(found, name) is not None:
            yield _option_finding(
                severity=Severity.WARNING,
                found=f"cluster_configuration no longer has {name}, but the cluster keeps it",
                fix=BY_HAND,
            )
