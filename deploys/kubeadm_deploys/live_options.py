"""The options held against the cluster that is there: what follows it, what is refused, and what has no effect.

Pure functions of what was read. A run that goes on with options which are not the cluster's would say one thing and do
another, or half of it, so none of this can be waived.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from kubeadm_deploys import checks
from kubeadm_deploys.errors import InputError, shown, some
from kubeadm_deploys.facts.cluster_settings import ClusterSettingsState
from kubeadm_deploys.findings import Finding, Severity
from kubeadm_deploys.kubeadm_documents import API_PORT, kubelet_configuration
from kubeadm_deploys.options import DEFAULT_RELEASES, ClusterOptions

COMPONENTS = {
    "containerd": "containerd_version",
    "runc": "runc_version",
    "cni-plugins": "cni_plugins_version",
    "calico": "calico_version",
}
"""By component in the cluster's record, the option that chooses its release."""

_NAMES = {
    "kubernetes_version": "Kubernetes",
    "containerd_version": "containerd",
    "runc_version": "runc",
    "cni_plugins_version": "CNI plugins",
    "calico_version": "Calico",
}

_RECONFIGURE = (
    'set it back, or change it by hand as Kubernetes\' documentation says ("Reconfiguring a kubeadm cluster")'
)

_DERIVED = {"failSwapOn": "swap", "resolvConf": "nameservers"}
"""By field of the kubelets' configuration, the option of ours that it serves."""

_LEFT_OUT_WHEN_ZERO = frozenset(
    {
        *(
            "enableContentionProfiling",
            "kernelMemcgNotification",
            "protectKernelDefaults",
            "rotateCertificates",
        ),
        *("runOnce", "serverTLSBootstrap"),
        *("eventBurst", "evictionMaxPodGracePeriod", "kubeAPIBurst", "maxOpenFiles", "maxPods"),
        *("nodeLeaseDurationSeconds", "podsPerCore", "port", "readOnlyPort", "registryBurst"),
    }
)
"""Fields of the kubelets' configuration that a document does not have when they are false or 0; of all others that is
a value like any other. Source: k8s.io/kubelet, config/v1beta1/types.go."""

_DURATION = re.compile(r"([0-9.]+(ns|us|µs|ms|s|m|h))+")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

_option_finding = partial(Finding, check="cluster-options", host="")


@dataclass(frozen=True, kw_only=True)
class Following:
    """The ``options`` with the cluster's releases, and what is not as the cluster has it.

    ``news`` is a line for the operator about releases that are not this package's, empty without any.
    """

    options: ClusterOptions
    findings: tuple[Finding, ...] = ()
    news: str = ""


def option_releases(options: ClusterOptions) -> dict[str, str]:
    """By component, the release that the options choose: what the record says of a cluster made with them."""
    return {component: getattr(options, field) for component, field in COMPONENTS.items()}


def machines_count(settings: ClusterSettingsState) -> bool:
    """Whether the machines have to be asked for a release, because no record says it."""
    return not (settings.record.releases or {}).keys() >= COMPONENTS.keys() - {"calico"}


def follow(
    options: ClusterOptions, *, settings: ClusterSettingsState, machines: Mapping[str, Mapping[str, str]]
) -> Following:
    """Give the options the cluster's releases, also in the place of those that the user has set otherwise.

    ``machines`` are the releases of the cluster's machines by host, which count for what no record says.
    """
    findings = list(option_findings(options, settings))
    found = {"kubernetes_version": {settings.kubernetes_version: ""}} | {
        field: _found_releases(component, settings=settings, machines=machines)
        for component, field in COMPONENTS.items()
    }
    followed: dict[str, str] = {}
    for field, releases in found.items():
        wanted = getattr(options, field)
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
        check = partial(Finding, check="component-versions", host="", severity=Severity.DANGER)
        findings += [
            check(
                found=f"the cluster has {_enumerated(followed)}, with which this package cannot go on: {problem}",
                cure="use a release of this package that knows these",
            )
            for problem in error.problems
        ]
        return Following(options=options, findings=tuple(findings))
    others = {field: release for field, release in followed.items() if release != DEFAULT_RELEASES[field]}
    kept = {field: release for field, release in others.items() if field not in options.given}
    return Following(options=effective, findings=tuple(findings), news=_news(kept))


def _found_releases(
    component: str, *, settings: ClusterSettingsState, machines: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """The releases of a component that the cluster has, each with the hosts that have it; the record's alone if any."""
    if recorded := (settings.record.releases or {}).get(component):
        return {recorded: ""}
    if component == "calico":
        return {settings.calico_version: ""} if settings.calico_version else {}
    by_release: dict[str, list[str]] = {}
    for host, releases in machines.items():
        if release := releases.get(component):
            by_release.setdefault(release, []).append(host)
    return {release: some(hosts) for release, hosts in by_release.items()}


def _other_release(field: str, *, wanted: str, has: str) -> Finding:
    name = _NAMES[field]
    return Finding(
        check="kubernetes-version" if field == "kubernetes_version" else "component-versions",
        host="",
        severity=Severity.DANGER,
        found=f"{field} is {wanted}, and the cluster has {name} {has}: this deploy does not upgrade",
        cure=f"set {field} to {has}, or leave it out",
    )


def _disagreement(field: str, releases: Mapping[str, str]) -> Finding:
    had = "; ".join(f"{release} on {hosts}" for release, hosts in releases.items())
    return Finding(
        check="component-versions",
        host="",
        severity=Severity.DANGER,
        found=f"the cluster has no record of its release of {_NAMES[field]}, and its machines differ: {had}",
        cure=f"set {field} to the one of these that all of them are to have",
    )


def _news(kept: Mapping[str, str]) -> str:
    if not kept:
        return ""
    defaults = {field: DEFAULT_RELEASES[field] for field in kept}
    plural = "defaults are" if len(kept) > 1 else "default is"
    return f"the cluster has {_enumerated(kept)}; this package's {plural} {_enumerated(defaults)}"


def _enumerated(releases: Mapping[str, str]) -> str:
    return ", ".join(f"{_NAMES[field]} {release}" for field, release in releases.items())


def option_findings(options: ClusterOptions, settings: ClusterSettingsState) -> Iterator[Finding]:
    """What is not the cluster's: with what it was made is refused, what cannot be changed yet is a warning."""
    yield from identity_findings(options, settings)
    yield from _network(options, settings)
    for option, there in _without_effect(options, settings):
        yield _option_finding(
            severity=Severity.DOUBT,
            found=f"{option} has no effect on a cluster that exists: {there}",
            cure=_RECONFIGURE,
        )
    for key in settings.record.damaged:
        yield _option_finding(
            severity=Severity.DOUBT,
            found=f"{key} of the ConfigMap kubeadm-deploys in kube-system cannot be understood and counts as missing",
            cure="leave it to this package, which writes it again",
        )
    if settings.silent:
        yield _option_finding(
            severity=Severity.DOUBT,
            found=(
                "no API server says what the cluster was made with, so that the options were compared with a control "
                f"plane's files only ({settings.silent})"
            ),
            cure="run this again when one answers",
        )


def identity_findings(options: ClusterOptions, settings: ClusterSettingsState) -> Iterator[Finding]:
    """Why the cluster that was found may be another one than the options are about."""
    refused = partial(_option_finding, severity=Severity.DANGER)
    name, has = options.cluster_name, settings.cluster_name
    if has and has != name:
        yield refused(
            found=f"cluster_name is {name!r}, and the inventory's machines are the cluster {shown(has)}: "
            "perhaps it is another cluster than you mean",
            cure=f"check the inventory's addresses; if this is the right cluster, set cluster_name to {has}",
        )
        if not options.control_plane_endpoint:
            # Its default has the cluster's name in it.
            return
    wanted = f"{options.endpoint}:{API_PORT}"
    there = _endpoint(settings.control_plane_endpoint)
    if there == wanted or (settings.silent and not there):
        return
    host, _, port = there.rpartition(":")
    usable = port == str(API_PORT) and _is_name(host)
    yield refused(
        found=(
            f"control_plane_endpoint is {wanted}, and that of the inventory's cluster is {there or 'empty'}: "
            "perhaps it is another cluster than you mean"
        ),
        cure="check the inventory's addresses; if this is the right cluster, "
        + (
            f"set control_plane_endpoint to {host}"
            if usable
            else f"this package cannot manage it: it needs a DNS name there, with port {API_PORT}"
        ),
    )


def _endpoint(value: str) -> str:
    """An endpoint in one form: lower case, without the root's dot, with its port."""
    host, colon, port = value.strip().lower().rpartition(":")
    if not colon:
        host, port = port, str(API_PORT)
    return f"{host.rstrip('.')}:{port}" if host else ""


def _is_name(host: str) -> bool:
    try:
        return bool(checks.dns_name(host))
    except ValueError:
        return False


def _network(options: ClusterOptions, settings: ClusterSettingsState) -> Iterator[Finding]:
    """What pods and Services have their addresses and names of.

    Another ``encapsulation`` would not change Calico's pool, which keeps the one that it was made with, but the MTU, and
    take away or add the BGP daemon that the pool's routes need: pods would lose their network.
    """
    for option, there in (
        ("pod_subnet", settings.pod_subnet),
        ("service_subnet", settings.service_subnet),
        ("dns_domain", settings.dns_domain),
        ("encapsulation", settings.encapsulation),
    ):
        wanted = getattr(options, option)
        unknown = not there and (settings.silent or option == "encapsulation")
        if unknown or _normal(there) == _normal(wanted):
            continue
        yield _option_finding(
            severity=Severity.DANGER,
            found=f"{option} is {wanted}, and the cluster has {there or 'none'}, which cannot be changed",
            cure=f"set {option} to {there}" if there else "make a new cluster",
        )


def _normal(value: str) -> str:
    """A network or domain in one form; anything else as it is."""
    try:
        return str(ipaddress.ip_network(value.strip(), strict=False))
    except ValueError:
        return value.strip().rstrip(".").lower()


def _without_effect(options: ClusterOptions, settings: ClusterSettingsState) -> Iterator[tuple[str, str]]:
    """The options that only ``kubeadm init`` reads and that differ from the cluster, each with what that has."""
    if settings.certificate_sans is not None:
        named = {_san(name) for name in settings.certificate_sans}
        if missing := [name for name in options.certificate_sans if _san(name) not in named]:
            yield "certificate_sans", f"its API servers' certificates do not name {some(missing)}"
    if settings.kubelet is not None:
        wanted = kubelet_configuration(options)
        for path, value, there in differences(wanted, settings.kubelet):
            option = "kubelet_configuration"
            if path not in options.kubelet_configuration:
                option = _DERIVED.get(path, option)
            yield option, f"{path} of its kubelets is {there}, not {value}"
    if settings.kube_proxy is not None:
        for path, value, there in differences(options.kube_proxy_configuration, settings.kube_proxy):
            yield "kube_proxy_configuration", f"{path} of its kube-proxies is {there}, not {value}"


def _san(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower()


def differences(
    wanted: Mapping[str, Any], found: Mapping[str, Any], *, above: str = ""
) -> Iterator[tuple[str, str, str]]:
    """The fields of a document that another one has otherwise: path, wanted and found value, as texts.

    Durations may be written in several ways. What only the other document has is not compared: kubeadm adds defaults of
    its own.
    """
    for key, value in wanted.items():
        path, there = f"{above}{key}", found.get(key)
        if key in ("apiVersion", "kind") and not above:
            continue
        if isinstance(value, Mapping) and isinstance(there, Mapping | None):
            yield from differences(value, there or {}, above=f"{path}.")
        elif not (_same(value, there) or (there is None and not value and path in _LEFT_OUT_WHEN_ZERO)):
            yield path, shown(value), "unset" if there is None else shown(there)


def _same(value: object, there: object) -> bool:
    if there is None:
        return value is None or value in ("", [], {})
    if isinstance(value, str) and isinstance(there, str):
        return value == there or (_seconds(value) is not None and _seconds(value) == _seconds(there))
    return value is None or value == there


def _seconds(text: str) -> float | None:
    """A duration of Go's, like 1m30s; None for any other text."""
    if not _DURATION.fullmatch(text):
        return None
    try:
        return sum(float(number) * _SECONDS[unit] for number, unit in re.findall(r"([0-9.]+)(\D+)", text))
    except ValueError:
        return None


def changed_meanwhile(planned: ClusterSettingsState | None, now: ClusterSettingsState | None) -> str:
    """What of the cluster has changed since a run was planned and matters to it, empty when nothing has.

    None stands for no cluster. What could not be read at one of the two times is not compared.
    """
    if planned is None or now is None:
        if planned is now:
            return ""
        return "the cluster has been created" if planned is None else "the cluster is gone"
    pairs = {
        "its name": (planned.cluster_name, now.cluster_name),
        "its control plane endpoint": tuple(
            _endpoint(each.control_plane_endpoint) for each in (planned, now)
        ),
        "its pod subnet": (_normal(planned.pod_subnet), _normal(now.pod_subnet)),
        "its service subnet": (_normal(planned.service_subnet), _normal(now.service_subnet)),
        "its DNS domain": (_normal(planned.dns_domain), _normal(now.dns_domain)),
        "its release of Kubernetes": (planned.kubernetes_version, now.kubernetes_version),
        "the encapsulation of its pod network": (planned.encapsulation, now.encapsulation),
        **{
            f"its release of {component}": tuple(
                (each.record.releases or {}).get(component, "") for each in (planned, now)
            )
            for component in COMPONENTS
        },
    }
    changed = [
        f"{what} was {before} and is {after}"
        for what, (before, after) in pairs.items()
        if before and after and before != after
    ]
    return ", ".join(changed)
