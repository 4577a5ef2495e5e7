"""The script that reads what an upgrade needs to know, with a kubeadm that writes manifests of the release in its document."""

import os
import subprocess
from pathlib import Path

from kubeadm_deploys.facts.upgrade_state import UpgradeReading, UpgradeState
from kubeadm_deploys.scripts import text

MANIFEST = """\
spec:
  containers:
  - command:
    - kube-apiserver
    - --advertise-address=10.0.0.1
    image: registry.k8s.io/kube-apiserver:v{release}
"""

_KUBECTL = """#!/bin/sh
printf 'apiVersion: kubeadm.k8s.io/v1beta4\\nkind: ClusterConfiguration\\nkubernetesVersion: v%s\\nclusterName: demo\\n' "$CLUSTER_RELEASE"
"""

_KUBEADM = """#!/bin/sh
if [ "$1" = version ]; then echo "v$KUBEADM_RELEASE"; exit; fi
while [ "$1" != --config ]; do shift; done
release=$(sed -n 's/^kubernetesVersion: v//p' "$2")
sed "s/{release}/$release/" "$TEMPLATE" > "$KUBEADM_INIT_DRYRUN_DIR/kube-apiserver.yaml"
"""


def read(folder: Path, manifest: str, *, kubeadm: str, cluster: str) -> UpgradeReading:
    """Return what is read of a control plane with this manifest, its kubeadm's release, and that of the cluster."""
    manifests, programs = folder / "manifests", folder / "bin"
    for each in (manifests, programs):
        each.mkdir()
    (manifests / "kube-apiserver.yaml").write_text(manifest)
    (folder / "template").write_text(MANIFEST)
    for name, content in (("kubectl", _KUBECTL), ("kubeadm", _KUBEADM)):
        (programs / name).write_text(content)
        (programs / name).chmod(0o755)
    script = text("read-upgrade-state").replace("/etc/kubernetes/manifests", str(manifests))
    done = subprocess.run(
        ["sh", "-c", script, "read-upgrade-state", "kube-apiserver"],
        env={
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "TEMPLATE": str(folder / "template"),
            "KUBEADM_RELEASE": kubeadm,
            "CLUSTER_RELEASE": cluster,
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return UpgradeState().process(done.stdout.splitlines())


def test_a_control_plane_that_an_upgrade_has_not_reached_yet_has_no_edits(tmp_path: Path) -> None:
    # The first control plane is upgraded, and with it the cluster's configuration.
    found = read(tmp_path, MANIFEST.format(release="1.36.5"), kubeadm="1.36.5", cluster="1.37.2")
    assert (found.compared, found.edits) == (True, ())


def test_what_people_have_changed_in_a_manifest_is_found(tmp_path: Path) -> None:
    manifest = MANIFEST.format(release="1.36.5").replace("    image:", "    - --v=1\n    image:")
    found = read(tmp_path, manifest, kubeadm="1.36.5", cluster="1.37.2")
    assert found.edits == ("kube-apiserver.yaml has - --v=1",)


def test_after_kubeadms_upgrade_nothing_is_compared(tmp_path: Path) -> None:
    found = read(tmp_path, MANIFEST.format(release="1.36.5"), kubeadm="1.37.2", cluster="1.36.5")
    assert (found.compared, found.edits) == (False, ())
