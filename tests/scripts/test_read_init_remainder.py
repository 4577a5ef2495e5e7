"""The script that reads what an interrupted init has not created yet, with a kubectl that knows a list of objects."""

import os
import subprocess
from pathlib import Path

import pytest

from kubeadm_deploys.facts.cluster_health import InitRemainder
from kubeadm_deploys.scripts import text

_KUBECTL = r"""#!/bin/sh
while [ "$1" != --namespace ]; do shift; done
namespace=$2; shift 2
for object in "$@"; do grep --line-regexp --fixed-strings "$namespace $object" "$OBJECTS" | cut --delimiter=' ' --fields=2; done
"""

READERS = "kube-public rolebinding.rbac.authorization.k8s.io/kubeadm:bootstrap-signer-clusterinfo"
# In the order in which kubeadm 1.37.2 creates them; its kubelet-finalize phase follows READERS.
OBJECTS = [
    "kube-system configmap/kubeadm-config",
    "kube-public configmap/cluster-info",
    READERS,
    "kube-system deployment.apps/coredns",
    "kube-system service/kube-dns",
    "kube-system daemonset.apps/kube-proxy",
    "kube-system rolebinding.rbac.authorization.k8s.io/kube-proxy",
]
ALL = ["kubeadm-config", "cluster-info", "coredns", "kube-proxy"]


def remainder(folder: Path, objects: list[str], *, rotating: bool) -> list[str]:
    """Return what is missing from a cluster with these objects; ``rotating`` is whether kubelet-finalize has run."""
    (folder / "kubectl").write_text(_KUBECTL)
    (folder / "kubectl").chmod(0o755)
    (folder / "objects").write_text("".join(f"{each}\n" for each in objects))
    certificate = "kubelet-client-current.pem" if rotating else "kubelet.crt"
    (folder / "kubelet.conf").write_text(f"    client-certificate: /var/lib/kubelet/pki/{certificate}\n")
    done = subprocess.run(
        ["sh", "-c", text("read-init-remainder").replace("/etc/kubernetes", str(folder))],
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "OBJECTS": str(folder / "objects")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return InitRemainder().process(done.stdout.splitlines())


@pytest.mark.parametrize(
    ("created", "missing"),
    [(0, ALL), (1, ALL[1:]), (2, ALL[1:]), (3, ALL[2:]), (4, ALL[2:]), (5, ALL[3:]), (6, ALL[3:]), (7, [])],
)
def test_an_init_that_was_killed_within_a_phase_lacks_that_phase(
    tmp_path: Path, created: int, missing: list[str]
) -> None:
    assert remainder(tmp_path, OBJECTS[:created], rotating=created > 3) == missing


def test_cluster_info_that_an_operator_has_hidden_is_not_missing(tmp_path: Path) -> None:
    hidden = [each for each in OBJECTS if each != READERS]
    assert remainder(tmp_path, hidden, rotating=True) == []
    # Its kubelet.conf was made anew.
    assert remainder(tmp_path, hidden, rotating=False) == []
    # Neither are add-ons that were removed too.
    assert remainder(tmp_path, hidden[:2], rotating=True) == ["coredns", "kube-proxy"]
