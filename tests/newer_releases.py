"""List upstream releases newer than this package's tables: ``make newer-releases``; needs the internet.

For the next release of this package, add them to ``artifacts.py``, to ``checksums.py`` with the sums that the
projects publish, and to ``tests/lab/mirror/components.py``.
"""

import re
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping

from kubeadm_deploys.model import artifacts
from kubeadm_deploys.model.checksums import SHA256

SECONDS = 60
"""Time limit for a repository to answer."""

_GITHUB = "https://github.com"
REPOSITORIES = {
    "Kubernetes": (f"{_GITHUB}/kubernetes/kubernetes", {artifacts.KUBERNETES_VERSION}),
    "containerd": (f"{_GITHUB}/containerd/containerd", SHA256["containerd"].keys()),
    "runc": (f"{_GITHUB}/opencontainers/runc", SHA256["runc"].keys()),
    "CNI plugins": (f"{_GITHUB}/containernetworking/plugins", SHA256["cni_plugins"].keys()),
    "Calico": (f"{_GITHUB}/projectcalico/calico", SHA256["calico"].keys()),
    "Hetzner's cloud controller": (
        f"{_GITHUB}/hetznercloud/hcloud-cloud-controller-manager",
        {artifacts.HCLOUD_CLOUD_CONTROLLER_VERSION},
    ),
    "Hetzner's CSI driver": (f"{_GITHUB}/hetznercloud/csi-driver", {artifacts.HCLOUD_CSI_VERSION}),
}
"""The repository of each component, and the releases that this package knows."""

_TAG = re.compile(r"refs/tags/v(\d+)\.(\d+)\.(\d+)$", re.MULTILINE)

_Release = tuple[int, ...]


class Unreachable(Exception):
    """A repository cannot be read; the message says why."""


def tags(repository: str) -> list[str]:
    """Return the tagged releases of a repository, without release candidates.

    Raises:
        Unreachable: git cannot read the repository within ``SECONDS``.
    """
    command = ("git", "ls-remote", "--tags", "--refs", repository)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise Unreachable(f"{repository} did not answer within {SECONDS} s") from None
    if done.returncode:
        raise Unreachable(" ".join(done.stderr.split()) or f"git cannot read {repository}")
    return [".".join(found) for found in _TAG.findall(done.stdout)]


def newer(released: Iterable[str], *, known: Collection[str]) -> list[str]:
    """Return the newest release of each series if it is newer than those known, the newest series first.

    Series older than the oldest known one are ignored.
    """
    newest: dict[_Release, _Release] = {}
    for release in map(_numbers, released):
        newest[release[:2]] = max(release, newest.get(release[:2], release))
    have = [_numbers(release) for release in known]
    oldest = min(release[:2] for release in have)
    return [
        ".".join(map(str, release))
        for series, release in sorted(newest.items(), reverse=True)
        if series >= oldest and all(other[:2] != series or other < release for other in have)
    ]


def _numbers(release: str) -> _Release:
    return tuple(map(int, release.split(".")))


def main(repositories: Mapping[str, tuple[str, Collection[str]]] = REPOSITORIES) -> int:
    """Print newer releases, one line per component; return 1 if a repository cannot be read."""
    failed = False
    for component, (repository, known) in repositories.items():
        try:
            found = newer(tags(repository), known=known)
        except Unreachable as error:
            print(f"error: {component}: {error}", file=sys.stderr)
            failed = True
            continue
        newest = max(known, key=_numbers)
        print(f"{component} {newest}: {', '.join(found) or 'nothing newer'}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
