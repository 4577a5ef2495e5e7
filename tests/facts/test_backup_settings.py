"""Which files on a control plane the arguments of its static pods name."""

import base64
import json
import subprocess
from pathlib import Path

import pytest
import yaml

from kubeadm_deploys.facts.backup_settings import BackupSettings, BackupSettingsState
from kubeadm_deploys.facts.kubeadm_node import MANIFESTS
from kubeadm_deploys.scripts import script


def pod(*arguments: str, mounts: dict[str, str]) -> bytes:
    """Return a manifest with these arguments and mounts, by the container's path."""
    container = {
        "name": "pod",
        "command": ["kube-apiserver", *arguments],
        "volumeMounts": [{"name": f"v{at}", "mountPath": path} for at, path in enumerate(mounts)],
    }
    volumes = [{"name": f"v{at}", "hostPath": {"path": path}} for at, path in enumerate(mounts.values())]
    return yaml.safe_dump({"spec": {"containers": [container], "volumes": volumes}}).encode()


KUBEADM = {"/etc/kubernetes/pki": "/etc/kubernetes/pki", "/etc/ssl/certs": "/etc/ssl/certs"}


@pytest.mark.parametrize(
    ("arguments", "mounts", "named"),
    [
        # kubeadm's own files are made again, or are among the shared keys.
        (("--client-ca-file=/etc/kubernetes/pki/ca.crt", "--etcd-keyfile=/etc/kubernetes/pki/apiserver-etcd-client.key"), {}, ()),
        (("--oidc-ca-file=/etc/kubernetes/pki/oidc.crt",), {}, ("/etc/kubernetes/pki/oidc.crt",)),
        # The container's path is not the host's.
        (("--audit-policy-file=/audit/policy.yaml",), {"/audit": "/srv/audit/"}, ("/srv/audit/policy.yaml",)),
        (("--audit-policy-file=/a/policy.yaml",), {"/a": "/x", "/a/policy.yaml": "/y.yaml"}, ("/y.yaml",)),
        (("--audit-policy-file=/ab/policy.yaml",), {"/a": "/x"}, ()),
        (("--tls=/k/a.crt,/k/b.crt",), {"/k": "/k"}, ("/k/a.crt", "/k/b.crt")),
        # The pod writes it.
        (("--audit-log-path=/log/audit.log",), {"/log": "/log"}, ()),
        (("--service-cluster-ip-range=10.96.0.0/12", "--v=2"), {}, ()),
    ],
)  # fmt: skip
def test_named_files(arguments: tuple[str, ...], mounts: dict[str, str], named: tuple[str, ...]) -> None:
    manifest = pod(*arguments, mounts=KUBEADM | mounts)
    assert BackupSettingsState(config_maps=b"", manifests={"pod": manifest}).named_files() == named


def test_a_manifest_that_cannot_be_parsed_is_an_error() -> None:
    for text in (b"spec: {", b"spec: {}", b""):
        with pytest.raises(ValueError, match="manifest cannot be parsed"):
            BackupSettingsState(config_maps=b"", manifests={"pod": text}).named_files()


def test_an_answer_without_kubeadms_configuration_is_an_error() -> None:
    items = [{"metadata": {"name": "kubelet-config"}}]
    lines = [f"objects {base64.b64encode(json.dumps({'items': items}).encode()).decode()}"]
    lines += [f"manifest:{name} {base64.b64encode(b'x').decode()}" for name in MANIFESTS]
    with pytest.raises(ValueError, match="kubeadm-config is missing"):
        BackupSettings().process(lines)


def test_only_regular_files_of_a_configurations_size_are_read(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_bytes(b"\0policy\n" * 20)
    (tmp_path / "link").symlink_to("policy.yaml")
    (tmp_path / "folder").mkdir()
    paths = [str(tmp_path / name) for name in ("policy.yaml", "link", "folder", "none")]

    def read(*paths: str) -> subprocess.CompletedProcess[str]:
        command = script("read-named-files", *paths).get_raw_value()
        return subprocess.run(["sh", "-c", command], capture_output=True, text=True)

    content = base64.b64encode(b"\0policy\n" * 20).decode()
    assert read(*paths).stdout.splitlines() == [f"file:{path} {content}" for path in paths[:2]]
    (tmp_path / "large").write_bytes(bytes(1 << 20) + b"x")
    done = read(str(tmp_path / "large"))
    assert done.returncode == 1
    assert "is larger than 1 MiB" in done.stderr
