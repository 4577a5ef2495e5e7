"""Check whether a machine reaches the servers that it downloads from, and fetch the apt repository's key."""

import base64
from dataclasses import dataclass, field

from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.model.proxies import NO_PROXIES, Proxies
from kubeadm_deploys.remote import lines
from kubeadm_deploys.remote.answers import PlanFact
from kubeadm_deploys.scripts import script


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The result for one URL; for an image's manifest, that of its last request: token, manifest or blob.

    ``status`` is curl's exit code, 0 for any answer, and ``message`` curl's error message. ``answer`` is the
    HTTP status of the last answer, 0 without one, and ``url`` where it came from after redirects. ``proxy`` is
    host and port of the proxy that was asked, empty without one.
    """

    status: int
    message: str = ""
    answer: int = 0
    url: str = ""
    proxy: str = ""


@dataclass(frozen=True, kw_only=True)
class DownloadsState:
    """``probes`` by URL; ``published_key`` is the apt repository's armoured key, empty if not fetched."""

    probes: dict[str, Probe] = field(default_factory=dict)
    published_key: str = ""


class Downloads(PlanFact[DownloadsState]):
    """Try all ``urls`` in one command; it takes at most about ten seconds if they do not answer.

    Of the hosts to reach without the ``proxies``, only those of these URLs count, each by its name.
    """

    @override
    def command(self, key_url: str, urls: tuple[str, ...], proxies: Proxies = NO_PROXIES) -> StringCommand:
        direct = ",".join(proxies.bypassed([key_url, *urls]))
        return script("try-downloads", key_url, *urls, stdin=f"{proxies.http}\n{proxies.https}\n{direct}\n")

    @override
    def process(self, output: list[str]) -> DownloadsState:
        values = lines.parse(output)
        return DownloadsState(
            probes={url: _probe(result) for url, result in sorted(lines.by_prefix(values, "probe:").items())},
            published_key=base64.b64decode(values.get("published-key", "")).decode(errors="replace"),
        )


def _probe(result: str) -> Probe:
    status, answer, url, proxy, *message = result.split(" ", 4)
    return Probe(
        status=int(status),
        answer=int(answer),
        url="" if url == "-" else url,
        proxy="" if proxy == "-" else proxy,
        message=" ".join(message).strip(),
    )
