"""Without the extra ``hetzner`` everything else works, and deploys that need it say what to install."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Python then treats the package as not installed.
WITHOUT_HCLOUD = "import sys; sys.modules['hcloud'] = None; "


def run(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_HCLOUD + code, *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT / 'deploys'}", "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_package_works_without_the_extra() -> None:
    done = run("import kubeadm_deploys; kubeadm_deploys.ClusterOptions(cloud_provider='hetzner')")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments", [("-y", "@local", "deploys/servers.py"), ("inventories/hetzner.py", "debug-inventory")]
)
def test_deploy_and_inventory_say_what_to_install(arguments: tuple[str, ...]) -> None:
    done = run("from pyinfra_cli.cli import cli; cli()", *arguments)
    assert done.returncode == 1
    output = " ".join((done.stdout + done.stderr).split())
    assert "hcloud: this Python package is missing; run pip install 'kubeadm-deploys[hetzner]'" in output
    assert "Traceback" not in output
