"""Older containerd releases read the configuration: built from source, so part of ``make chaos``; no host is needed."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.sections.container_runtime import CONFIG_FILE, configuration_files
from tests.e2e.conftest import completed
from tests.lab.mirror.golang import go_build

CRI = "io.containerd.grpc.v1.cri"
# containerd 2.0 ignores the plugins of a drop-in with version 2; 2.3 converts them.
SECOND = """
version = {version}
[plugins."{plugin}".containerd.runtimes.second]
  runtime_type = "io.containerd.runc.v2"
"""


def read(containerd: Path, folder: Path, configuration: str, *, drop_in: str = "") -> dict[str, Any]:
    """Return the configuration that containerd makes of these files."""
    if drop_in:
        (folder / "conf.d").mkdir()
        (folder / "conf.d/second.toml").write_text(drop_in)
    (folder / "config.toml").write_text(configuration.replace("/etc/containerd/conf.d", f"{folder}/conf.d"))
    command = (str(containerd), "--config", f"{folder}/config.toml", "config", "dump")
    dumped = completed(command)
    assert dumped.returncode == 0, dumped.stderr
    return dict(tomllib.loads(dumped.stdout)["plugins"])


@pytest.mark.chaos
@pytest.mark.parametrize(
    ("release", "module", "version", "images", "runtime"),
    [
        ("1.7.34", "github.com/containerd/containerd", 2, CRI, CRI),
        (
            "2.0.11",
            "github.com/containerd/containerd/v2",
            3,
            "io.containerd.cri.v1.images",
            "io.containerd.cri.v1.runtime",
        ),
    ],
)
def test_credentials_and_drop_ins_are_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    release: str,
    module: str,
    version: int,
    images: str,
    runtime: str,
) -> None:
    tags = "urfave_cli_no_docs no_btrfs"
    go_build(
        module=module, version=f"v{release}", packages=["cmd/containerd"], output=tmp_path / "bin", tags=tags
    )
    monkeypatch.setenv("E2E_REGISTRY_PASSWORD", 'right"\\é')
    entry = {"username": "robot", "password_env": "E2E_REGISTRY_PASSWORD"}
    options = ClusterOptions(
        kubernetes_version="1.35.4", containerd_version=release, registries={"registry.example.com": entry}
    )
    configuration = configuration_files(options)[CONFIG_FILE]
    alone = read(tmp_path / "bin/containerd", tmp_path, configuration)
    assert alone[images]["registry"]["config_path"] == "/etc/containerd/certs.d"
    auth = alone[images]["registry"]["configs"]["registry.example.com"]["auth"]
    assert (auth["username"], auth["password"]) == ("robot", 'right"\\é')
    assert alone[runtime]["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is True

    with_second = read(
        tmp_path / "bin/containerd",
        tmp_path,
        configuration,
        drop_in=SECOND.format(version=version, plugin=runtime),
    )
    assert "second" in with_second[runtime]["containerd"]["runtimes"]
    # containerd 1.7 takes the whole plugin from the drop-in, which stops a run before containerd is restarted.
    kept = with_second[images]["registry"]["config_path"] == "/etc/containerd/certs.d"
    assert kept is (release != "1.7.34")
