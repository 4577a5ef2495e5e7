"""Whether a machine reaches what it has to fetch, and what it gets for a key of the apt repository."""

import base64
from dataclasses import dataclass, field

from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.facts import lines
from kubeadm_deploys.facts.answers import PlanFact
from kubeadm_deploys.scripts import script


@dataclass(frozen=True, kw_only=True)
class Probe:
    """How a URL was answered: curl's exit code, 0 for any answer at all, and what curl said."""

    status: int
    said: str = ""


@dataclass(frozen=True, kw_only=True)
class DownloadsState:
    """``probes`` by URL; ``published_key`` is the armoured key of the apt repository, empty if it was not fetched."""

    probes: dict[str, Probe] = field(default_factory=dict)
    published_key: str = ""


class Downloads(PlanFact[DownloadsState]):
    """All of it in one command, which takes at most about ten seconds when ``urls`` do not answer."""

    @override
    def command(self, key_url: str, urls: tuple[str, ...]) -> StringCommand:
        return script("try-downloads", key_url, *urls)

    @override
    def process(self, output: list[str]) -> DownloadsState:
        values = lines.parse(output)
        return DownloadsState(
            probes={
                url: Probe(status=int(status), said=said)
                for url, answer in sorted(lines.by_prefix(values, "probe:").items())
                for status, _, said in [answer.partition(" ")]
            },
            published_key=base64.b64decode(values.get("published-key", "")).decode(errors="replace"),
        )
