"""The option ``cluster_configuration``: which fields of kubeadm's ClusterConfiguration a user may set.

Source: kubeadm's API reference, kubeadm.k8s.io/v1beta4; kubeadm's phases/controlplane and phases/etcd for the arguments
that it sets itself.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kubeadm_deploys.model.errors import meant, shown

COMPONENTS = ("apiServer", "controllerManager", "scheduler", "etcd.local")
"""The static pods' places in a ClusterConfiguration."""

LISTS = ("extraArgs", "extraVolumes", "extraEnvs")
"""The fields of a component; their entries have names."""

OURS: Mapping[str, Sequence[Mapping[str, str]]] = {
    # Without it, an API server that is stopped waits for its watches until the kubelet kills it after 30 s.
    "apiServer": ({"name": "shutdown-watch-termination-grace-period", "value": "5s"},)
}
"""The extra arguments that this package sets by component; a user's argument of the same name replaces them."""

PERIODS = ("certificateValidityPeriod", "caCertificateValidityPeriod")

_FIELDS = ("apiServer", "controllerManager", "scheduler", "etcd", *PERIODS, "featureGates", "dns", "proxy")

_ELSEWHERE = {
    "kubernetesVersion": "set kubernetes_version instead",
    "networking": "set pod_subnet, service_subnet and dns_domain instead",
    "controlPlaneEndpoint": "set control_plane_endpoint instead",
    "clusterName": "set cluster_name instead",
    "imageRepository": "set mirror or registries instead",
    "certificatesDir": "leave it out",
    "encryptionAlgorithm": "leave it out",
    "apiServer.certSANs": "set certificate_sans instead",
    "etcd.external": "leave it out, etcd runs on the control planes",
    "etcd.local.dataDir": "leave it out",
    "etcd.local.serverCertSANs": "leave it out",
    "etcd.local.peerCertSANs": "leave it out",
    "etcd.local.imageRepository": "set mirror or registries instead",
    "etcd.local.imageTag": "leave it out, kubeadm chooses it by kubernetes_version",
}
"""Fields that follow from other options or from this package, with the fix."""

_OWN_ARGUMENTS = {
    "apiServer": frozenset(
        [
            "advertise-address",
            "bind-address",
            "secure-port",
            "service-cluster-ip-range",
            "allow-privileged",
            "etcd-servers",
            "etcd-cafile",
            "etcd-certfile",
            "etcd-keyfile",
            "client-ca-file",
            "tls-cert-file",
            "tls-private-key-file",
            "kubelet-client-certificate",
            "kubelet-client-key",
            "enable-bootstrap-token-auth",
            "service-account-key-file",
            "service-account-signing-key-file",
        ]
    ),
    "controllerManager": frozenset(
        [
            "cluster-cidr",
            "cluster-name",
            "service-cluster-ip-range",
            "allocate-node-cidrs",
            "node-cidr-mask-size",
            "node-cidr-mask-size-ipv4",
            "kubeconfig",
            "authentication-kubeconfig",
            "authorization-kubeconfig",
            "client-ca-file",
            "root-ca-file",
            "service-account-private-key-file",
            "cluster-signing-cert-file",
            "cluster-signing-key-file",
            "use-service-account-credentials",
        ]
    ),
    "scheduler": frozenset(["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"]),
    "etcd.local": frozenset(
        [
            "name",
            "data-dir",
            "wal-dir",
            "listen-client-urls",
            "listen-peer-urls",
            "advertise-client-urls",
            "initial-advertise-peer-urls",
            "initial-cluster",
            "initial-cluster-state",
            "initial-cluster-token",
            "force-new-cluster",
            "cert-file",
            "key-file",
            "trusted-ca-file",
            "client-cert-auth",
            "peer-cert-file",
            "peer-key-file",
            "peer-trusted-ca-file",
            "peer-client-cert-auth",
        ]
    ),
}
"""The arguments by component that follow from the topology, other options or kubeadm's certificates."""

_NEEDED = {
    "authorization-mode": (frozenset({"Node", "RBAC"}), "kubelets and this package need them"),
    "enable-admission-plugins": (frozenset({"NodeRestriction"}), "without it nodes can change each other"),
}
"""Words that the value of an API server's argument must contain, and why: it replaces kubeadm's own value."""

_VOLUME = frozenset({"name", "hostPath", "mountPath", "readOnly", "pathType"})
_PATH_TYPES = (
    "",
    "DirectoryOrCreate",
    "Directory",
    "FileOrCreate",
    "File",
    "Socket",
    "CharDevice",
    "BlockDevice",
)
_VOLUME_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_ARGUMENT_NAME = re.compile(r"[a-z0-9][-a-z0-9]*")
_PERIOD = re.compile(r"([0-9]+(\.[0-9]+)?(h|m|s))+")


def check(configuration: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the configuration if it has only what a user may set.

    Raises:
        ValueError: names the field and the fix.
    """
    for key in configuration:
        _refuse_unknown(key, _FIELDS)
    _refuse_others(configuration, "etcd", ("local",))
    for component in COMPONENTS:
        fields = ("extraArgs", "extraEnvs") if component == "etcd.local" else LISTS
        _refuse_others(configuration, component, fields)
        for field in fields:
            _check_list(fields_of(configuration, component).get(field, ()), f"{component}.{field}", component)
    for period in PERIODS:
        value = configuration.get(period, "1h")
        if not (isinstance(value, str) and _PERIOD.fullmatch(value)):
            raise ValueError(f"has {period} {shown(value)}, which is not a duration; write it like '8760h'")
    gates = _mapping(configuration, "featureGates")
    if wrong := [name for name, value in gates.items() if not isinstance(value, bool)]:
        raise ValueError(f"has featureGates.{wrong[0]}, which is not a boolean; write true or false")
    for addon in ("dns", "proxy"):
        _refuse_others(configuration, addon, ("imageRepository", "imageTag") if addon == "dns" else ())
    return configuration


def fields_of(configuration: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """Return the part of a configuration at a path like ``etcd.local``, empty if it has none."""
    found: Any = configuration
    for key in path.split("."):
        found = (found or {}).get(key)
    return found or {}


def with_extras(document: Mapping[str, Any], extras: Mapping[str, Any]) -> dict[str, Any]:
    """Return a ClusterConfiguration with a user's fields added; lists are merged by the names of their entries."""
    merged = dict(document)
    for key, value in extras.items():
        before = merged.get(key)
        if isinstance(value, Mapping):
            merged[key] = with_extras(before or {}, value)
        elif key in LISTS:
            merged[key] = _merged_by_name(before or (), value)
        else:
            merged[key] = value
    return {key: value for key, value in merged.items() if value not in ({}, [])}


def with_ours(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cluster's ClusterConfiguration with the arguments of ``OURS`` added whose names it does not have."""
    missing: dict[str, Any] = {}
    for component, arguments in OURS.items():
        known = {each["name"] for each in fields_of(configuration, component).get("extraArgs", ())}
        if added := [each for each in arguments if each["name"] not in known]:
            missing[component] = {"extraArgs": added}
    return with_extras(configuration, missing) if missing else dict(configuration)


def _merged_by_name(
    before: Sequence[Mapping[str, Any]], added: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return both lists as one; entries keep the place of those that they replace."""
    merged: list[Mapping[str, Any]] = []
    left = list(added)
    for entry in before:
        same = [each for each in left if each["name"] == entry["name"]]
        merged += same
        left = [each for each in left if each not in same]
        if all(each["name"] != entry["name"] for each in added):
            merged.append(entry)
    return [*merged, *left]


def unmounted_files(configuration: Mapping[str, Any], paths: Sequence[str]) -> Iterator[str]:
    """Yield a problem for each argument that names one of these files of the machine, which its pod does not see."""
    for component in COMPONENTS:
        fields = fields_of(configuration, component)
        mounts = [str(volume["mountPath"]).rstrip("/") for volume in fields.get("extraVolumes", ())]
        for argument in fields.get("extraArgs", ()):
            path = argument["value"]
            if path in paths and not any(path == mount or path.startswith(f"{mount}/") for mount in mounts):
                yield (
                    f"cluster_configuration: {component}.extraArgs {argument['name']} names {path}, which no "
                    f"extraVolumes of {component} mounts; add one for its folder"
                )


def _mapping(configuration: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    found: Any = configuration
    for key in path.split("."):
        found = found.get(key, {})
        if not isinstance(found, Mapping):
            raise ValueError(
                f"has {path} {shown(found)}, which is not a mapping; write it like kubeadm's API reference"
            )
    return dict(found)


def _refuse_others(configuration: Mapping[str, Any], path: str, fields: Sequence[str]) -> None:
    for key in _mapping(configuration, path):
        _refuse_unknown(f"{path}.{key}", [f"{path}.{field}" for field in fields])


def _refuse_unknown(path: str, known: Sequence[str]) -> None:
    if path in known:
        return
    if path in _ELSEWHERE:
        raise ValueError(f"has {path}, which this package sets itself; {_ELSEWHERE[path]}")
    if path in ("dns.disabled", "proxy.disabled"):
        raise ValueError(f"has {path}, but this package needs CoreDNS and kube-proxy; leave it out")
    fix = meant(path, known, otherwise=f"choose {', '.join(known)}" if known else "leave it out")
    raise ValueError(f"has {shown(path)}, which cannot be set here; {fix}")


def _check_list(entries: object, path: str, component: str) -> None:
    example = "[{'name': '...', ...}]"
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise ValueError(f"has {path} {shown(entries)}, which is not a list; write it like {example}")
    for entry in entries:
        if not (isinstance(entry, Mapping) and isinstance(entry.get("name"), str) and entry["name"]):
            raise ValueError(f"has {shown(entry)} in {path}, which has no name; write it like {example}")
        if path.endswith("extraArgs"):
            _check_argument(entry, path, component)
        elif path.endswith("extraVolumes"):
            _check_volume(entry, path)
        elif isinstance(value := entry.get("value", ""), bool) or not isinstance(value, str):
            raise ValueError(f"has {entry['name']} in {path}, whose value is not text; write it in quotes")
    names = [entry["name"] for entry in entries]
    # An argument may be given several times, like service-account-issuer.
    if not path.endswith("extraArgs") and (twice := [name for name in names if names.count(name) > 1]):
        raise ValueError(f"has {twice[0]} twice in {path}; leave one out")


def _check_argument(argument: Mapping[str, Any], path: str, component: str) -> None:
    name, value = argument["name"], argument.get("value")
    if not _ARGUMENT_NAME.fullmatch(name):
        raise ValueError(
            f"has {shown(name)} in {path}, which is not an argument's name; write it without dashes before it"
        )
    if argument.keys() != {"name", "value"} or not isinstance(value, str):
        raise ValueError(
            f"has {name} in {path} without a text as its value; write {{'name': '{name}', 'value': '...'}}"
        )
    if name in _OWN_ARGUMENTS[component]:
        raise ValueError(f"has {name} in {path}, which this package or kubeadm sets itself; leave it out")
    if component != "apiServer":
        return
    if name == "anonymous-auth" and value.lower() not in ("true", "1", "t"):
        raise ValueError(
            f"turns {name} off in {path}, without which no node can join and no health check works; leave it out, or "
            "allow it for single paths with an AuthenticationConfiguration"
        )
    needed, why = _NEEDED.get(name, (frozenset[str](), ""))
    if missing := needed - {word.strip() for word in value.split(",")}:
        raise ValueError(
            f"has {name} in {path} without {' and '.join(sorted(missing))}; add what is missing, {why}"
        )


def _check_volume(volume: Mapping[str, Any], path: str) -> None:
    name = volume["name"]
    if not _VOLUME_NAME.fullmatch(name):
        raise ValueError(
            f"has {shown(name)} in {path}, which is not a volume's name; use lower-case letters, digits and hyphens"
        )
    if unknown := sorted(volume.keys() - _VOLUME):
        raise ValueError(f"has {shown(unknown[0])} in {name} of {path}; choose {', '.join(sorted(_VOLUME))}")
    for field in ("hostPath", "mountPath"):
        if not str(volume.get(field, "")).startswith("/"):
            raise ValueError(f"has {name} in {path}, whose {field} is not an absolute path; write one")
    if not isinstance(volume.get("readOnly", False), bool):
        raise ValueError(f"has {name} in {path}, whose readOnly is not a boolean; write true or false")
    if volume.get("pathType", "") not in _PATH_TYPES:
        raise ValueError(
            f"has {name} in {path}, whose pathType is unknown; choose {', '.join(filter(None, _PATH_TYPES))}"
        )
