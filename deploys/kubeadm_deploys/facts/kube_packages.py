"""Which Kubernetes packages a machine has, and where apt takes them from."""

import base64
from dataclasses import dataclass, field

from pyinfra.api import FactBase
from pyinfra.api.command import QuoteString, StringCommand
from typing_extensions import override

from kubeadm_deploys.facts import lines

_SCRIPT = r"""
dpkg-query --show --showformat '${Package} ${db:Status-Status} ${Version}\n' "$@" 2>/dev/null |
  while read -r package status version; do
    if [ "$status" = installed ]; then echo "package:$package $version"; fi
  done
apt-mark showhold | while read -r package; do echo "held:$package"; done
for is in enabled active; do
  if systemctl "is-$is" --quiet kubelet 2>/dev/null; then echo "kubelet:$is"; fi
done
# Without one of them, before a join or after half of a reset, the kubelet fails as it should.
(cd /etc/kubernetes && ls kubelet.conf pki/ca.crt && cd /var/lib/kubelet && ls config.yaml pki/kubelet-client-current.pem) \
  > /dev/null 2>&1 && echo kubelet:has-node
"""


@dataclass(frozen=True, kw_only=True)
class KubePackagesState:
    """Version by installed package, the ``held`` packages, the keyring's bytes and sha256 of ``files``.

    ``kubelet`` is what its unit is of ``enabled`` and ``active``, and ``has-node`` when kubeadm has made a node of the
    machine.
    """

    versions: dict[str, str] = field(default_factory=dict)
    held: frozenset[str] = frozenset()
    kubelet: frozenset[str] = frozenset()
    keyring: bytes = b""
    files: dict[str, str] = field(default_factory=dict)


class KubePackages(FactBase[KubePackagesState]):
    """Packages, holds and apt's sources, in one command."""

    @override
    def command(self, packages: tuple[str, ...], keyring: str, paths: tuple[str, ...]) -> StringCommand:
        path = QuoteString(keyring)
        return StringCommand(
            StringCommand("set --", *(QuoteString(package) for package in packages)),
            _SCRIPT,
            StringCommand("if [ -f", path, ']; then echo "keyring $(base64 -w 0', path, ')"; fi'),
            lines.files_script(paths),
            _separator="\n",
        )

    @override
    def process(self, output: list[str]) -> KubePackagesState:
        values = lines.parse(output)
        return KubePackagesState(
            versions=lines.by_prefix(values, "package:"),
            held=frozenset(lines.by_prefix(values, "held:")),
            kubelet=frozenset(lines.by_prefix(values, "kubelet:")),
            keyring=base64.b64decode(values.get("keyring", "")),
            files=lines.files(values),
        )


class AptRepositoryKey(FactBase[str]):
    """The armoured key that a repository publishes, fetched by the machine the way its apt fetches packages."""

    @override
    def command(self, url: str) -> StringCommand:
        return StringCommand(
            "work=$(mktemp -d) && trap 'rm -rf \"$work\"' EXIT &&",
            "{ /usr/lib/apt/apt-helper -qq download-file",
            QuoteString(url),
            '"$work/key" >&2 ||',
            "{ echo cannot fetch",
            QuoteString(url),
            ">&2; exit 1; }; } &&",
            'cat "$work/key"',
        )

    @override
    def process(self, output: list[str]) -> str:
        return "\n".join(output)
