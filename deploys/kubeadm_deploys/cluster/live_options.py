"""Compare the options with the existing cluster: some follow it, some are refused, some have no effect.

Pure functions of what was read. These checks cannot be skipped: with options that contradict the cluster, a
run would apply only some of them.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from packaging.version import Version

from kubeadm_deploys.cluster import live_configuration, live_kubelet
from kubeadm_deploys.cluster.document_differences import differences
from kubeadm_deploys.documents.kubeadm_documents import kubelet_configuration
from kubeadm_deploys.facts.cluster_settings import ClusterSettingsState
from kubeadm_deploys.model import checks
from kubeadm_deploys.model.errors import InputError, shown, some
from kubeadm_deploys.model.findings import Finding, Severity
from kubeadm_deploys.model.nodes import API_PORT
from kubeadm_deploys.model.options import (
    CLOUD_RELEASES,
    CNI_RELEASES,
    DEFAULT_RELEASES,
    RELEASE_NAMES,
    ClusterOptions,
)

ADD_ONS = CNI_RELEASES | {name: option for each in CLOUD_RELEASES.values() for name, option in each.items()}
"""The option that chooses the release of what runs as pods in the cluster, by component in the cluster's record."""

COMPONENTS = {
    "containerd": "containerd_version",
    "runc": "runc_version",
    "cni-plugins": "cni_plugins_version",
    **ADD_ONS,
}
"""The option that chooses a release, by component in the cluster's record."""

_RECONFIGURE = live_configuration.BY_HAND

_DERIVED = {"failSwapOn": "swap"}
"""The option that sets a field of the kubelets' configuration, by field."""

_option_finding = partial(Finding, check="cluster-options", host="")


@dataclass(frozen=True, kw_only=True)
class Following:
    """The ``options`` with the cluster's releases, and findings about options that differ from the cluster.

    ``news`` is a line for the operator about releases that are not this package's defaults, empty without
    any.
    """

    options: ClusterOptions
    findings: tuple[Finding, ...] = ()
    news: str = ""


def option_releases(options: ClusterOptions) -> dict[str, str]:
    """Return the releases that the options choose by component, in the form of the cluster's record."""
    used = {options.cni, *CLOUD_RELEASES.get(options.cloud_provider, {})}
    return {
        component: str(getattr(options, field))
        for component, field in COMPONENTS.items()
        if component not in ADD_ONS or component in used
    }


def add_on_releases(options: ClusterOptions) -> dict[str, str]:
    """Return the releases that the options choose of what runs as pods in the cluster, by component."""
    return {
        component: release for component, release in option_releases(options).items() if component in ADD_ONS
    }


def machines_count(settings: ClusterSettingsState) -> bool:
    """Return whether the machines have to be asked for releases, because the record lacks some."""
    return not (settings.record.releases or {}).keys() >= COMPONENTS.keys() - ADD_ONS.keys()


def follow(
    options: ClusterOptions,
    *,
    settings: ClusterSettingsState,
    machines: Mapping[str, Mapping[str, str]],
    allow_drain: bool = False,
) -> Following:
    """Replace the releases in the options with the cluster's, even if the user has set others.

    ``machines`` are the releases of the cluster's machines by host, used where the record has none. ``allow_drain`` is
    that of ``option_findings``.
    """
    findings = list(option_findings(options, settings, allow_drain=allow_drain))
    found = {"kubernetes_version": {settings.kubernetes_version: ""}} | {
        COMPONENTS[component]: _found_releases(component, settings=settings, machines=machines)
        for component in option_releases(options)
    }
    followed: dict[str, str] = {}
    for field, releases in found.items():
        wanted = str(getattr(options, field))
        if len(releases) > 1 and (field not in options.given or wanted not in releases):
            findings.append(_disagreement(field, releases))
        elif len(releases) == 1:
            (release,) = releases
            followed[field] = release
            if field in options.given and wanted != release:
                findings.append(_other_release(field, wanted=wanted, has=release))
    try:
        effective = options.following(followed)
    except InputError as error:
        check = partial(Finding, check="component-versions", host="", severity=Severity.ERROR)
        findings += [
            check(
                found=(
                    f"the cluster has {_enumerated(followed)}, which this package does not support: {problem}"
                ),
                fix=f"upgrade with '{UPGRADE}', or use a release of this package that supports them",
            )
            for problem in error.problems
        ]
        return Following(options=options, findings=tuple(findings))
    differing = {field: release for field, release in followed.items() if release != DEFAULT_RELEASES[field]}
    kept = {field: release for field, release in differing.items() if field not in options.given}
    return Following(options=effective, findings=tuple(findings), news=_news(kept))


def _found_releases(
    component: str, *, settings: ClusterSettingsState, machines: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """Return a component's recorded release, else the machines' releases with the hosts that have them."""
    if recorded := (settings.record.releases or {}).get(component):
        return {recorded: ""}
    if component in ADD_ONS:
        return {running: ""} if (running := settings.running(component)) else {}
    by_release: dict[str, list[str]] = {}
    for host, releases in machines.items():
        if release := releases.get(component):
            by_release.setdefault(release, []).append(host)
    return {release: some(hosts) for release, hosts in by_release.items()}


UPGRADE = "pyinfra INVENTORY deploys/upgrade.py"
"""The command of an upgrade, for messages."""


def _other_release(field: str, *, wanted: str, has: str) -> Finding:
    name = RELEASE_NAMES[field]
    keep = f"set {field} to {has}, or leave it out"
    return Finding(
        check="kubernetes-version" if field == "kubernetes_version" else "component-versions",
        host="",
        severity=Severity.ERROR,
        found=f"{field} is {wanted}, but the cluster has {name} {has}",
        fix=keep if Version(wanted) < Version(has) else f"upgrade with '{UPGRADE}', or {keep}",
    )


def unfinished_upgrade(settings: ClusterSettingsState) -> Iterator[Finding]:
    """Yield an error while an upgrade has begun and not ended: machines have different releases."""
    if settings.record.upgrade is not None:
        release = settings.record.upgrade.get("kubernetes", "another release")
        yield Finding(
            check="kubernetes-version",
            host="",
            severity=Severity.ERROR,
            found=f"an upgrade of the cluster to Kubernetes {release} has begun and not ended",
            fix=(
                f"finish it with '{UPGRADE}'; until then, take machines that have not joined out of the inventory"
            ),
        )


def _disagreement(field: str, releases: Mapping[str, str]) -> Finding:
    listed = "; ".join(f"{release} on {hosts}" for release, hosts in releases.items())
    return Finding(
        check="component-versions",
        host="",
        severity=Severity.ERROR,
        found=(
            f"the cluster has no record of its {RELEASE_NAMES[field]} release, and its machines differ: "
            f"{listed}"
        ),
        fix=f"set {field} to the one of these that all machines should have",
    )


def _news(kept: Mapping[str, str]) -> str:
    if not kept:
        return ""
    defaults = {field: DEFAULT_RELEASES[field] for field in kept}
    plural = "defaults are" if len(kept) > 1 else "default is"
    return f"the cluster has {_enumerated(kept)}; this package's {plural} {_enumerated(defaults)}"


def _enumerated(releases: Mapping[str, str]) -> str:
    return ", ".join(f"{RELEASE_NAMES[field]} {release}" for field, release in releases.items())


def option_findings(
    options: ClusterOptions, settings: ClusterSettingsState, *, allow_drain: bool = False
) -> Iterator[Finding]:
    """Yield where the options differ from the cluster: an error where that cannot work, else a warning.

    ``allow_drain`` is whether the run may drain nodes for another configuration of their kubelets.
    """
    yield from identity_findings(options, settings)
    yield from unfinished_upgrade(settings)
    yield from _cni(options, settings)
    yield from _network(options, settings)
    yield from live_configuration.findings(options, settings)
    yield from live_kubelet.findings(options, settings, allow_drain=allow_drain)
    for option, difference in _without_effect(options, settings):
        yield _option_finding(
            severity=Severity.WARNING,
            found=f"{option} has no effect on an existing cluster: {difference}",
            fix=_RECONFIGURE,
        )
    for key in settings.record.damaged:
        yield _option_finding(
            severity=Severity.WARNING,
            found=(
                f"{key} of the ConfigMap kubeadm-deploys in kube-system cannot be parsed and counts as missing"
            ),
            fix="none needed, this package writes it again",
        )
    if settings.silent:
        yield _option_finding(
            severity=Severity.WARNING,
            found=(
                "no API server answers, so the options were only compared with the files of a control plane "
                f"({settings.silent})"
            ),
            fix="run this again when one answers",
        )


def identity_findings(options: ClusterOptions, settings: ClusterSettingsState) -> Iterator[Finding]:
    """Yield why the cluster that was found may not be the one that the options describe."""
    refused = partial(_option_finding, severity=Severity.ERROR)
    name, has = options.cluster_name, settings.cluster_name
    if has and has != name:
        yield refused(
            found=(
                f"cluster_name is {name!r}, but the inventory's machines belong to the cluster {shown(has)}: "
                "this may not be the cluster that you mean"
            ),
            fix=f"check the inventory's addresses; if this is the right cluster, set cluster_name to {has}",
        )
        if not options.control_plane_endpoint:
            # The default endpoint contains the cluster's name, so it differs too.
            return
    wanted = f"{options.endpoint}:{API_PORT}"
    actual = _endpoint(settings.control_plane_endpoint)
    if actual == wanted or (settings.silent and not actual):
        return
    host, _, port = actual.rpartition(":")
    usable = port == str(API_PORT) and _is_name(host)
    yield refused(
        found=(
            f"control_plane_endpoint is {wanted}, but that of the inventory's cluster is "
            f"{actual or 'empty'}: this may not be the cluster that you mean"
        ),
        fix="check the inventory's addresses; if this is the right cluster, "
        + (
            f"set control_plane_endpoint to {host}"
            if usable
            else f"this package cannot manage it: its endpoint must be a DNS name with port {API_PORT}"
        ),
    )


def _endpoint(value: str) -> str:
    """Normalize an endpoint: lower case, without a trailing dot, with its port."""
    host, colon, port = value.strip().lower().rpartition(":")
    if not colon:
        host, port = port, str(API_PORT)
    return f"{host.rstrip('.')}:{port}" if host else ""


def _is_name(host: str) -> bool:
    try:
        return bool(checks.dns_name(host))
    except ValueError:
        return False


def _cni(options: ClusterOptions, settings: ClusterSettingsState) -> Iterator[Finding]:
    """Yield an error if the cluster was created with another CNI; a record without one means ``none``."""
    if recorded := settings.record.releases:
        has = next((cni for cni in CNI_RELEASES if cni in recorded), "none")
    else:
        has = settings.cni
    if has and has != options.cni:
        yield _option_finding(
            severity=Severity.ERROR,
            found=f"cni is {options.cni}, but the cluster was created with {has}, which cannot be changed",
            fix=f"set cni to {has}",
        )


def _network(options: ClusterOptions, settings: ClusterSettingsState) -> Iterator[Finding]:
    """Yield errors about subnets, DNS domain and encapsulation that differ from the cluster's.

    Another ``encapsulation`` would not change the existing IP pool, but the MTU, and would add or remove the
    BGP daemon that the pool's routes need: pods would lose their network.
    """
    for option, actual in (
        ("pod_subnet", settings.pod_subnet),
        ("service_subnet", settings.service_subnet),
        ("dns_domain", settings.dns_domain),
        ("encapsulation", settings.encapsulation),
    ):
        wanted = str(getattr(options, option))
        if option == "encapsulation" and options.cni == "none":
            continue
        unknown = not actual and (settings.silent or option == "encapsulation")
        if unknown or _normal(actual) == _normal(wanted):
            continue
        yield _option_finding(
            severity=Severity.ERROR,
            found=f"{option} is {wanted}, but the cluster has {actual or 'none'}, which cannot be changed",
            fix=f"set {option} to {actual}" if actual else "create a new cluster",
        )


def _normal(value: str) -> str:
    """Normalize a network or a domain; return anything else in lower case."""
    try:
        return str(ipaddress.ip_network(value.strip(), strict=False))
    except ValueError:
        return value.strip().rstrip(".").lower()


def _without_effect(options: ClusterOptions, settings: ClusterSettingsState) -> Iterator[tuple[str, str]]:
    """Yield options that only ``kubeadm init`` reads and that differ from the cluster, with differences."""
    if settings.kubelet is not None:
        wanted = kubelet_configuration(options)
        for path, value, actual in differences(wanted, settings.kubelet):
            # A run changes the rest, or leaves the kubelets their own resolver file.
            if path.partition(".")[0] in {*options.kubelet_configuration, "resolvConf"} - {"cgroupDriver"}:
                continue
            option = _DERIVED.get(path, "kubelet_configuration")
            yield option, f"{path} of its kubelets is {actual}, not {value}"


def changed_meanwhile(
    planned: ClusterSettingsState | None, now: ClusterSettingsState | None, *, stored_nothing: bool = False
) -> str:
    """Return what has changed in the cluster since a run was planned, empty if nothing that matters has.

    None means that there is no cluster. A value that could not be read at one of the two times is not
    compared. ``stored_nothing`` is whether the init that made the files of the control plane stored nothing: what was
    read from these files only was no cluster.
    """
    if stored_nothing and planned is not None and planned.silent:
        planned = None
    if planned is None or now is None:
        if planned is now:
            return ""
        return "the cluster has been created" if planned is None else "the cluster has disappeared"
    pairs = {
        "the cluster's name": (planned.cluster_name, now.cluster_name),
        "the cluster's control plane endpoint": tuple(
            _endpoint(settings.control_plane_endpoint) for settings in (planned, now)
        ),
        "the cluster's pod subnet": (_normal(planned.pod_subnet), _normal(now.pod_subnet)),
        "the cluster's service subnet": (_normal(planned.service_subnet), _normal(now.service_subnet)),
        "the cluster's DNS domain": (_normal(planned.dns_domain), _normal(now.dns_domain)),
        "the cluster's Kubernetes release": (planned.kubernetes_version, now.kubernetes_version),
        "the encapsulation of the cluster's pod network": (planned.encapsulation, now.encapsulation),
        **{
            f"the cluster's {component} release": tuple(
                (settings.record.releases or {}).get(component, "") for settings in (planned, now)
            )
            for component in COMPONENTS
        },
    }
    changed = [
        f"{what} has changed from {before} to {after}"
        for what, (before, after) in pairs.items()
        if before and after and before != after
    ]
    return ", ".join(changed)
