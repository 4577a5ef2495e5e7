"""Checks of the labels, taints and roles in a node's data, like those in ``checks``."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from kubeadm_deploys.model import checks
from kubeadm_deploys.model.errors import shown

ROLE_PREFIX = "node-role.kubernetes.io"
"""Prefix of the labels that kubectl shows as a node's roles."""

_LABEL_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_TAINT = re.compile(r"([^=:]+)(?:=([^=:]*))?:(NoSchedule|PreferNoSchedule|NoExecute)")
_KUBELETS_PREFIXES = ("kubernetes.io", "beta.kubernetes.io", "failure-domain.beta.kubernetes.io")
_KUBERNETES_TAINT_PREFIXES = ("node.kubernetes.io", "node.cloudprovider.kubernetes.io")


def node_labels(value: object, *, kept: Mapping[str, str] = MappingProxyType({})) -> Mapping[str, str]:
    """Check a node's labels. Refuse roles, and labels set by the kubelet or by what ``kept`` names by key.

    Source: Kubernetes documentation, "Labels and Selectors", "Well-Known Labels, Annotations and Taints".
    """
    if not isinstance(value, Mapping):
        raise ValueError("is not a mapping; write it like {'disk': 'ssd'}")
    for key, content in value.items():
        if not _is_label_key(key):
            raise ValueError(
                f"has {shown(key)}, which is not a label key; write at most 63 letters, digits and inner "
                "'-', '_' and '.', optionally after a DNS name, like example.com/disk"
            )
        prefix = _prefix(key)
        if prefix == ROLE_PREFIX:
            raise ValueError(f"has {shown(key)}, which is a role; name it in node_roles")
        if keeper := "the kubelet" if prefix in _KUBELETS_PREFIXES else kept.get(key):
            raise ValueError(f"has {shown(key)}, which {keeper} sets; leave it out")
        if not _is_label_value(content):
            raise ValueError(
                f"has {shown(content)} for {shown(key)}; "
                "write text of at most 63 letters, digits and inner '-', '_' and '.', or '' for no value"
            )
    return dict(value)


def node_taints(value: object) -> Mapping[str, str]:
    """Check a node's taints; return their values by key and effect, their identity ("dedicated:NoSchedule").

    Source: Kubernetes documentation, "Taints and Tolerations".
    """
    if not isinstance(value, list | tuple):
        raise ValueError("is not a list; write it like ['dedicated=gpu:NoSchedule']")
    taints: dict[str, str] = {}
    for entry in value:
        match = _TAINT.fullmatch(entry) if isinstance(entry, str) else None
        key, content, effect = match.groups(default="") if match else ("", "", "")
        if not _is_label_key(key) or not _is_label_value(content):
            raise ValueError(
                f"has {shown(entry)}, which is not a taint; write it like dedicated=gpu:NoSchedule or "
                "spot:NoExecute (the third effect is PreferNoSchedule)"
            )
        if _prefix(key) in _KUBERNETES_TAINT_PREFIXES:
            raise ValueError(f"has {shown(entry)}, which Kubernetes sets; leave it out")
        if f"{key}:{effect}" in taints:
            raise ValueError(f"has {key}:{effect} twice; give it one value")
        taints[f"{key}:{effect}"] = content
    return taints


def node_roles(value: object) -> tuple[str, ...]:
    """Check roles of a node, in addition to that of a control plane."""
    if not isinstance(value, list | tuple):
        raise ValueError("is not a list; write it like ['gpu']")
    for role in value:
        if not isinstance(role, str) or not _LABEL_NAME.fullmatch(role):
            raise ValueError(
                f"has {shown(role)}, which is not a role name; write at most 63 letters, digits and inner "
                "'-', '_' and '.'"
            )
        if role == "control-plane":
            raise ValueError(
                f"has {shown(role)}, which kubeadm sets; put the host into the group control_plane"
            )
    return tuple(value)


def _is_label_key(value: object) -> bool:
    if not isinstance(value, str):
        return False
    prefix, slash, name = value.rpartition("/")
    try:
        return bool(_LABEL_NAME.fullmatch(name)) and (not slash or checks.dns_name(prefix) == prefix)
    except ValueError:
        return False


def _is_label_value(value: object) -> bool:
    return value == "" or (isinstance(value, str) and bool(_LABEL_NAME.fullmatch(value)))


def _prefix(key: str) -> str:
    return key.rpartition("/")[0]
