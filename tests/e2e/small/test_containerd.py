"""Private registries, and files that users add to containerd's configuration."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from kubeadm_deploys.model import artifacts
from tests.e2e.conftest import Cluster
from tests.e2e.registry import PASSWORD, USER, PrivateRegistry, private_registry

PAUSE = artifacts.SANDBOX_IMAGES[".".join(artifacts.KUBERNETES_VERSION.split(".")[:2])]
IMAGE = "registry.example.com/team/pause:1"
CONFIG = "/etc/containerd/config.toml"
HOSTS = "/etc/containerd/certs.d/registry.example.com/hosts.toml"
THEIRS = "/etc/containerd/certs.d/theirs.example.com/hosts.toml"
VARIABLE = "E2E_REGISTRY_PASSWORD"
WRONG = "Kd7-lab:%~x-wrong"

RESTART = "Container runtime | Run containerd"


@pytest.fixture(scope="module")
def registry(cluster: Cluster) -> Iterator[PrivateRegistry]:
    # --local, because otherwise ctr can end before it has written the end of the archive, with exit code 0: it does not
    # wait for what copies containerd's stream (containerd 2.3.4: 9 of 60 archives on a busy machine, none with --local).
    export = ("ctr", "--namespace=k8s.io", "images", "export", "--local", "-", PAUSE)
    exported = subprocess.run(
        ["docker", "exec", cluster.worker, *export], capture_output=True, check=True, timeout=60
    )
    with private_registry(exported=exported.stdout) as served:
        yield served


def pod(name: str, *, image: str, node: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": name, "image": image}],
            **spec,
        },
    }


def found_in(cluster: Cluster, host: str, secret: str) -> list[str]:
    """Return the files and the journal of a host that contain a secret."""
    files = f"grep -rlsF -- '{secret}' /etc /root /run /tmp /var/log /var/lib/kubelet"
    journal = f"journalctl --no-pager | grep -qF -- '{secret}' && echo journal"
    return cluster.shell(host, f"{files}; {journal}; true").splitlines()


def test_images_come_from_a_mirror_that_wants_a_password(
    cluster: Cluster, registry: PrivateRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = {
        "registry.example.com": {"mirrors": ["http://127.0.0.1:9", f"http://{registry.address}"]},
        registry.address: {"username": USER, "password_env": VARIABLE},
    }
    data = f"--data=registries={json.dumps(entries)}"
    pull = f"timeout 60 crictl pull {IMAGE} 2>&1; true"
    cluster.shell(cluster.worker, f"mkdir -p $(dirname {THEIRS}) && echo 'server = \"https://a\"' > {THEIRS}")

    monkeypatch.delenv(VARIABLE, raising=False)
    unset = cluster.pyinfra("-y", data)
    assert unset.exit_code == 1
    assert f"{registry.address}.password_env: the variable {VARIABLE} is not set; export it" in unset.output
    assert "Starting operation" not in unset.output

    monkeypatch.setenv(VARIABLE, WRONG)
    wrong = cluster.converge("-vv", data)
    assert wrong.changed == [f"Container runtime | Write {HOSTS} and 1 more", RESTART]
    assert "401 Unauthorized" in cluster.shell(cluster.worker, pull)
    assert registry.served == []

    monkeypatch.setenv(VARIABLE, PASSWORD)
    dry = cluster.pyinfra("--dry", "--diff", "-vv", data)
    right = cluster.converge("-vv", data)
    assert right.changed == [f"Container runtime | Write {CONFIG}", RESTART]
    try:
        cluster.apply(pod("private", image=IMAGE, node=cluster.worker))
        cluster.kubectl("wait", "--for=condition=Ready", "pod/private", "--timeout=120s")
    finally:
        cluster.kubectl("delete", "pod/private", "--ignore-not-found", "--timeout=120s")
    # Also the image's own layer was fetched.
    assert {path.split("/")[-2] for path in registry.served} == {"manifests", "blobs"}

    for host in cluster.hosts:
        assert cluster.shell(host.name, f"stat -c '%a %U' {CONFIG}") == "600 root"
        assert found_in(cluster, host.name, PASSWORD) == [CONFIG]
        assert found_in(cluster, host.name, WRONG) == []
    second = cluster.converge(data)
    assert second.changed == []
    for run in (unset, wrong, dry, right, second):
        assert [secret for secret in (WRONG, PASSWORD) if secret in run.output] == []

    back = cluster.converge()
    assert back.changed == [
        f"Container runtime | Write {CONFIG}",
        f"Container runtime | Remove {HOSTS}",
        RESTART,
    ]
    for host in cluster.hosts:
        assert found_in(cluster, host.name, PASSWORD) == []
        assert cluster.shell(host.name, f"ls -d $(dirname {HOSTS}) || echo gone").endswith("gone")
    cluster.shell(cluster.worker, f"rm {THEIRS}; crictl --timeout 60s rmi {IMAGE}")


SECOND = """
version = 2
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.second]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.second.options]
  BinaryName = "/usr/local/sbin/runc-second"
  SystemdCgroup = true
"""
"""A drop-in in the schema of containerd 1.7, which newer releases convert."""


def test_a_drop_ins_runtime_works_and_a_broken_drop_in_is_named(cluster: Cluster) -> None:
    folder, worker = "/etc/containerd/conf.d", cluster.worker
    started = "systemctl show containerd --property=MainPID --property=ActiveState"
    cluster.shell(worker, f"mkdir {folder} && cp /usr/local/sbin/runc /usr/local/sbin/runc-second")
    cluster.shell(worker, f"cat > {folder}/second.toml <<'E'{SECOND}E")
    try:
        run = cluster.converge()
        assert run.changed == [RESTART]
        assert {host for operation in run.operations for host in operation["success"]} == {
            f"@docker/{worker}"
        }
        cluster.apply(
            {
                "apiVersion": "node.k8s.io/v1",
                "kind": "RuntimeClass",
                "metadata": {"name": "second"},
                "handler": "second",
            },
            pod("second", image=PAUSE, node=worker, runtimeClassName="second"),
        )
        cluster.kubectl("wait", "--for=condition=Ready", "pod/second", "--timeout=120s")
        pods = json.loads(cluster.shell(worker, "crictl --timeout 60s pods --name second --output json"))[
            "items"
        ]
        assert [each["runtimeHandler"] for each in pods] == ["second"]

        cluster.shell(worker, f"printf 'version = [\\n' > {folder}/broken.toml")
        before = cluster.shell(worker, started)
        broken = cluster.pyinfra("-y")
        assert broken.exit_code == 1
        named = (
            f"{worker}: has {folder}/broken.toml, with which containerd would not start again: failed to unm"
        )
        assert named in broken.output
        assert "no changes were made" in broken.output
        assert cluster.shell(worker, started) == before
        cluster.shell(worker, f"rm {folder}/broken.toml")
        # The folder is newer than the running containerd.
        assert cluster.converge().changed == [RESTART]
        assert cluster.converge().changed == []
        cluster.kubectl("wait", "--for=condition=Ready", "pod/second", "--timeout=30s")
    finally:
        cluster.kubectl("delete", "pod/second", "runtimeclass/second", "--ignore-not-found", "--timeout=120s")
        cluster.shell(worker, f"rm -rf {folder} /usr/local/sbin/runc-second; systemctl restart containerd")
