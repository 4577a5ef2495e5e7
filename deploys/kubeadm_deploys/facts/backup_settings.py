"""Read from a control plane what a backup needs besides keys and etcd's data, and which files its pods use."""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import yaml
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.documents import cluster_record
from kubeadm_deploys.facts.kubeadm_node import MANIFESTS
from kubeadm_deploys.remote import lines
from kubeadm_deploys.remote.answers import ClusterFact
from kubeadm_deploys.scripts import script

_PKI = "/etc/kubernetes/pki"

_MADE_BY_KUBEADM = frozenset(
    [
        *(f"/etc/kubernetes/{name}.conf" for name in ("controller-manager", "scheduler")),
        *(f"{_PKI}/{name}" for name in ("sa.key", "sa.pub")),
        *(
            f"{_PKI}/{name}.{kind}"
            for name in (
                *("ca", "front-proxy-ca", "etcd/ca", "apiserver", "apiserver-kubelet-client"),
                *("apiserver-etcd-client", "front-proxy-client"),
                *("etcd/server", "etcd/peer", "etcd/healthcheck-client"),
            )
            for kind in ("crt", "key")
        ),
    ]
)
"""Files that kubeadm makes again, and the shared keys, which are saved anyway."""

_WRITTEN = frozenset({"audit-log-path", "log-file"})
"""Arguments that name files which the pod writes."""


@dataclass(frozen=True, kw_only=True)
class BackupSettingsState:
    """kubeadm's ConfigMaps and our record as a list in JSON, and the texts of the static pods' manifests."""

    config_maps: bytes
    manifests: Mapping[str, bytes]

    def named_files(self) -> tuple[str, ...]:
        """Return the paths on the host that the static pods' arguments name, without those of kubeadm.

        Raises:
            ValueError: a manifest cannot be parsed.
        """
        paths = {path for text in self.manifests.values() for path in _named(text)}
        return tuple(sorted(paths - _MADE_BY_KUBEADM))


class BackupSettings(ClusterFact[BackupSettingsState]):
    """Read both on a control plane whose API server answers, in one command."""

    @override
    def command(self) -> StringCommand:
        return script("read-backup-settings", cluster_record.NAME, *MANIFESTS)

    @override
    def process(self, output: list[str]) -> BackupSettingsState:
        values = lines.parse(output)
        config_maps = base64.b64decode(values["objects"])
        names = {item["metadata"]["name"] for item in json.loads(config_maps)["items"]}
        if missing := sorted({"kubeadm-config", "kubelet-config"} - names):
            raise ValueError(f"the ConfigMap {' and '.join(missing)} is missing")
        manifests = {
            name: base64.b64decode(text) for name, text in lines.by_prefix(values, "manifest:").items()
        }
        return BackupSettingsState(
            config_maps=config_maps, manifests={name: manifests[name] for name in MANIFESTS}
        )


def _named(manifest: bytes) -> Iterator[str]:
    """Yield the host's paths of the values of a pod's arguments that are absolute paths."""
    try:
        spec = yaml.safe_load(manifest)["spec"]
        volumes = {
            volume["name"]: str(volume["hostPath"]["path"])
            for volume in spec.get("volumes") or ()
            if "hostPath" in volume
        }
        for container in spec["containers"]:
            mounts = {
                str(mount["mountPath"]): volumes[mount["name"]]
                for mount in container.get("volumeMounts") or ()
                if mount["name"] in volumes
            }
            for argument in [*(container.get("command") or ()), *(container.get("args") or ())]:
                name, _, value = str(argument).partition("=")
                if name.lstrip("-") in _WRITTEN:
                    continue
                for path in value.split(","):
                    yield from _on_host(path, mounts=mounts)
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"a static pod's manifest cannot be parsed: {error}") from None


def _on_host(path: str, *, mounts: Mapping[str, str]) -> Iterator[str]:
    """Yield a path of a container as the host's, from the innermost mount that contains it."""
    if not path.startswith("/"):
        return
    for mount in sorted(mounts, key=len, reverse=True):
        if path == mount or path.startswith(f"{mount.rstrip('/')}/"):
            yield f"{mounts[mount].rstrip('/')}{path.removeprefix(mount.rstrip('/'))}"
            return
