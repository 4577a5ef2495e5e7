"""What one etcd member says of itself without a majority."""

import json
import os
import subprocess
from pathlib import Path

from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.facts.own_etcd import OwnEtcd, OwnEtcdState
from kubeadm_deploys.scripts import text

MANIFEST = """
    - --listen-client-urls=https://127.0.0.1:2379,https://10.0.0.2:2379
    - --listen-metrics-urls=http://127.0.0.1:2381
    - --listen-peer-urls=https://10.0.0.2:2380
"""
METRICS = """# HELP etcd_server_has_leader Whether or not a leader exists. 1 is existence, 0 is not.
etcd_server_has_leader 0
etcd_server_proposals_applied_total 1.234567e+06
etcd_debugging_mvcc_current_revision 987654
etcd_debugging_mvcc_current_revisions_other 1
"""
MEMBERS = [
    {"id": 10, "peerURLs": ["https://10.0.0.1:2380"], "name": "cp-1"},
    {"id": 11, "peerURLs": ["https://10.0.0.2:2380"], "isLearner": True, "name": "cp-2"},
]


def answer(folder: Path, *, metrics: str = METRICS) -> list[str]:
    """Return what the script prints with a curl that answers for etcd."""
    (folder / "manifests").mkdir()
    (folder / "manifests/etcd.yaml").write_text(MANIFEST)
    (folder / "metrics").write_text(metrics)
    headers = (
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Etcd-Cluster-Id: cdf818194e3a8c32\r\n\r\n"
    )
    (folder / "members").write_text(headers + json.dumps(MEMBERS) + "\n")
    # The real one would agree to HTTP/2 with etcd's port for members, and get an empty reply.
    curl = folder / "bin/curl"
    curl.parent.mkdir()
    curl.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *http://127.0.0.1:2381/metrics) cat {folder}/metrics ;; '
        f"*--http1.1*https://10.0.0.2:2380/members) cat {folder}/members ;; *) exit 7 ;; esac\n"
    )
    curl.chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", text("read-own-etcd").replace("/etc/kubernetes", str(folder))],
        env={**os.environ, "PATH": f"{curl.parent}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_member_without_a_majority_says_what_it_has(tmp_path: Path) -> None:
    assert OwnEtcd().process(answer(tmp_path)) == OwnEtcdState(
        has_leader=False,
        learner=True,
        revision=987654,
        applied=1234567,
        cluster_id=0xCDF818194E3A8C32,
        members=(
            EtcdMember(id="a", name="cp-1", peer_ip="10.0.0.1"),
            EtcdMember(id="b", name="cp-2", peer_ip="10.0.0.2", learner=True),
        ),
    )


def test_a_member_with_a_leader(tmp_path: Path) -> None:
    metrics = METRICS.replace("etcd_server_has_leader 0", "etcd_server_has_leader 1")
    assert OwnEtcd().process(answer(tmp_path, metrics=metrics)).has_leader
