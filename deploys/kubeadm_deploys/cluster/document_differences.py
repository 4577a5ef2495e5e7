"""Compare two configuration documents by their fields."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kubeadm_deploys.model.errors import shown

LEFT_OUT_WHEN_ZERO = frozenset(
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
"""Fields of the kubelets' configuration that are omitted from a document when they are false or 0. All other
fields keep these values. Source: k8s.io/kubelet, config/v1beta1/types.go."""

_DURATION = re.compile(r"([0-9.]+(ns|us|µs|ms|s|m|h))+")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def differences(
    wanted: Mapping[str, Any], found: Mapping[str, Any], *, above: str = ""
) -> Iterator[tuple[str, str, str]]:
    """Yield the fields in which two documents differ: path, wanted value and found value, as text.

    Durations are equal whatever their notation. Fields that only ``found`` has are ignored, because kubeadm
    adds its own defaults.
    """
    for key, value in wanted.items():
        path, actual = f"{above}{key}", found.get(key)
        if key in ("apiVersion", "kind") and not above:
            continue
        if isinstance(value, Mapping) and isinstance(actual, Mapping | None):
            yield from differences(value, actual or {}, above=f"{path}.")
        elif not (same(value, actual) or (actual is None and not value and path in LEFT_OUT_WHEN_ZERO)):
            yield path, shown(value), "unset" if actual is None else shown(actual)


def same(wanted: object, actual: object) -> bool:
    """Return whether two values of a document mean the same; None is an unset one."""
    if actual is None:
        return wanted is None or wanted in ("", [], {})
    if isinstance(wanted, str) and isinstance(actual, str):
        return wanted == actual or (_seconds(wanted) is not None and _seconds(wanted) == _seconds(actual))
    return wanted is None or wanted == actual


def _seconds(text: str) -> float | None:
    """Return the seconds of a Go duration like 1m30s; None for any other text."""
    if not _DURATION.fullmatch(text):
        return None
    try:
        return sum(float(number) * _SECONDS[unit] for number, unit in re.findall(r"([0-9.]+)(\D+)", text))
    except ValueError:
        return None
