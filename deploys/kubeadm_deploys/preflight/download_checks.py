"""Checks of what a machine has to download: servers, proxies and the key of the apt repository."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import urlsplit

from kubeadm_deploys.cni import cni_of
from kubeadm_deploys.documents import apt_key
from kubeadm_deploys.facts.downloads import Probe
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.facts.machine import MachineState
from kubeadm_deploys.model import artifacts
from kubeadm_deploys.model.findings import Finding
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.preflight.machine_checks import CandidateNode
from kubeadm_deploys.sections.images import node_images

_UNKNOWN_HOST = 6
"""curl's exit code for a name that it cannot resolve."""

_NO_PROXY_ANSWERS = (5, 7)
"""curl's exit codes for a proxy whose name it cannot resolve, and for one that does not answer."""

_PROXY_TIMES_OUT = re.compile(r"\bConnection timed out\b")
"""What curl says if not even the proxy, to which it connects first, has answered in time."""

_REFUSED_TUNNEL = re.compile(r"\b(?:response|HTTP code) (40[17])\b")
"""What new and old curls say if the proxy wants another user and password for https."""


def urls_to_try(*, options: ClusterOptions, control_plane: bool) -> tuple[str, ...]:
    """Return what a node of this role fetches from each server; with a mirror, only the mirror.

    Servers redirect to others, which may be blocked while the first one answers, so real files and images are
    asked for.
    """
    if options.mirror:
        return (options.mirror,)
    cni = cni_of(options)
    files = dict.fromkeys(("containerd", "runc", "cni_plugins"), artifacts.ARCHITECTURES[0])
    if control_plane and cni.component:
        files[cni.component] = cni.manifest(options)
    releases = [
        artifacts.release_file(component=component, version=options.release(component), variant=variant).url
        for component, variant in files.items()
    ]
    repository = artifacts.kubernetes_apt_repository(options.kubernetes_minor)
    images = [
        image
        for image in (
            artifacts.SANDBOX_IMAGES[options.kubernetes_minor],
            *node_images(options=options, control_plane=control_plane),
        )
        # Those with mirrors are only the last resort.
        if not ((own := options.registries.get(image.partition("/")[0])) and own.mirrors)
    ]
    urls = [*releases, f"{repository}InRelease", *map(_manifest_url, images)]
    by_server: dict[str, str] = {}
    for url in urls:
        by_server.setdefault(urlsplit(url).netloc, url)
    return tuple(by_server.values())


def _manifest_url(image: str) -> str:
    registry, _, name = image.partition("/")
    repository, _, tag = name.rpartition(":")
    return f"https://{artifacts.registry_server(registry)}/v2/{repository}/manifests/{tag}"


def has_to_fetch(machine: MachineState, *, found: KubeadmNodeState, options: ClusterOptions) -> bool:
    """Return whether a machine has to fetch anything: a node with the wanted release does not."""
    has_release = machine.kubelet.startswith(f"{options.kubernetes_version}-")
    return not (has_release and "kubelet.conf" in found.files)


def download_findings(candidate: CandidateNode, *, options: ClusterOptions) -> Iterator[Finding]:
    """Yield findings about what a machine cannot download."""
    yield from _proxies(candidate)
    yield from _servers(candidate, options)
    yield from _repository_key(candidate, options)


def _is_refusal(answer: int) -> bool:
    """Return whether an HTTP status refuses what anybody may have; 401 asks for a token, as registries do."""
    return answer >= 400 and answer not in (401, 405)


def _proxies(candidate: CandidateNode) -> Iterator[Finding]:
    problems = {
        probe.proxy: problem
        for url, probe in candidate.downloads.probes.items()
        if (problem := _problem_of_proxy(url, probe))
    }
    for proxy, problem in problems.items():
        yield candidate.error(
            "proxy",
            found=f"cannot use the proxy {proxy}, which {problem}",
            fix="correct http_proxy and https_proxy, or allow the connection",
        )
    if candidate.machine.environment_proxies and not candidate.proxies:
        yield candidate.warning(
            "proxy",
            found=f"has {', '.join(candidate.machine.environment_proxies)} in /etc/environment, which this project does not use",
            fix="set http_proxy, https_proxy and no_proxy if the machine needs a proxy",
        )


def _problem_of_proxy(url: str, probe: Probe) -> str:
    """Return why no proxy was used for a download, empty if one was used, or none is set."""
    if not probe.proxy:
        return ""
    tunnel = _REFUSED_TUNNEL.search(probe.message)
    # tinyproxy answers 401 to a wrong password. Servers want none for http URLs.
    if probe.answer == 407 or (probe.answer == 401 and url.startswith("http:")) or tunnel:
        return f"refuses its user and password ({tunnel[1] if tunnel else probe.answer})"
    if probe.status in _NO_PROXY_ANSWERS or _PROXY_TIMES_OUT.search(probe.message):
        return f"does not answer ({_said(probe)})"
    return ""


def _said(probe: Probe) -> str:
    return probe.message.removeprefix(f"curl: ({probe.status}) ") or "no answer"


def _servers(candidate: CandidateNode, options: ClusterOptions) -> Iterator[Finding]:
    probes = {
        url: probe for url, probe in candidate.downloads.probes.items() if not _problem_of_proxy(url, probe)
    }
    unknown = [_asked(url, probe) for url, probe in probes.items() if probe.status == _UNKNOWN_HOST]
    if unknown:
        yield candidate.error(
            "name-resolution",
            found=f"cannot resolve {', '.join(unknown)}",
            fix="check /etc/resolv.conf on it, or set mirror",
        )
    refusing = [
        f"{urlsplit(url).hostname} answers {probe.answer}"
        + (
            f" (from {urlsplit(probe.url).hostname})"
            if urlsplit(probe.url).netloc != urlsplit(url).netloc
            else ""
        )
        + _through(probe)
        for url, probe in probes.items()
        if not probe.status and _is_refusal(probe.answer) and (url != options.mirror or _is_proxys(probe))
    ]
    if refusing:
        yield candidate.error(
            "reachability",
            found=", ".join(refusing),
            fix="use another public address if this one is blocked, check the proxy or firewall, or set mirror",
        )
    silent = [
        f"{_asked(url, probe)} ({_said(probe)}){_through(probe)}"
        for url, probe in probes.items()
        if probe.status not in (0, _UNKNOWN_HOST)
    ]
    if silent:
        yield candidate.error(
            "reachability",
            found=f"cannot reach {', '.join(silent)}",
            fix="allow the connection, or set mirror",
        )


def _through(probe: Probe) -> str:
    return f" through the proxy {probe.proxy}" if probe.proxy else ""


def _is_proxys(probe: Probe) -> bool:
    """Return whether an answer is that of a proxy which does not reach the server itself."""
    return bool(probe.proxy) and probe.answer >= 500


def _asked(url: str, probe: Probe) -> str:
    """Return the host that the last request went to, and for which host if that sent it there."""
    first, last = (str(urlsplit(each).hostname) for each in (url, probe.url or url))
    return first if first == last else f"{last} for {first}"


def _repository_key(candidate: CandidateNode, options: ClusterOptions) -> Iterator[Finding]:
    if not candidate.downloads.published_key:
        return
    try:
        apt_key.pinned_key(
            candidate.downloads.published_key.encode(),
            fingerprint=options.kubernetes_apt_key_fingerprint,
            now=datetime.now(UTC),
        )
    except ValueError as error:
        yield candidate.error(
            "apt-key",
            found=f"gets a key of the apt repository that {error}",
            fix=(
                "let the mirror serve only the key that the repository publishes now; set "
                "kubernetes_apt_key_fingerprint only if you sign the repository yourself"
            ),
        )
