"""Search for the values of secrets everywhere a run could have left them."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.conftest import ROOT, Cluster
from tests.lab.docker import docker

_END = "/run/watched-enough"

# The Secrets of tokens, as "id.secret"; prints nothing while the API does not answer.
TOKENS = (
    "kubectl --kubeconfig /etc/kubernetes/admin.conf --namespace kube-system get secrets "
    "--field-selector type=bootstrap.kubernetes.io/token --output "
    """'go-template={{range .items}}{{index .data "token-id" | base64decode}}.{{index .data "token-secret" | base64decode}}"""
    """{{"\\n"}}{{end}}' 2> /dev/null"""
)

# Containers' processes are visible among this machine's own. Each argument is a line, printed once. A killed
# test leaves no end file, so the loop also ends with the test's process.
_ARGUMENTS = (
    'while [ ! -e "$1" ] && kill -0 "$2"; do cat /proc/[0-9]*/cmdline 2> /dev/null; sleep 0.2; done | '
    "tr '\\0' '\\n' | awk '!seen[$0]++'"
)


@dataclass
class Watch:
    """Tokens and process arguments seen during a run."""

    tokens: set[str] = field(default_factory=set)
    arguments: str = ""


@contextmanager
def watching(cluster: Cluster, folder: Path) -> Iterator[Watch]:
    """Record the arguments of every process, and all tokens, in a folder until the context ends."""
    watch, end = Watch(), folder / "end"
    host = cluster.control_plane
    tokens = f"until [ -e {_END} ]; do {TOKENS}; sleep 0.5; done | awk '!seen[$0]++'"
    with (folder / "tokens").open("w+") as seen_tokens, (folder / "arguments").open("w+") as seen_arguments:
        looks = [
            subprocess.Popen(["docker", "exec", host, "sh", "-c", tokens], stdout=seen_tokens),
            subprocess.Popen(
                ["sh", "-c", _ARGUMENTS, "sh", str(end), str(os.getpid())], stdout=seen_arguments
            ),
        ]
        try:
            yield watch
        finally:
            end.touch()
            docker("exec", host, "touch", _END)
            assert [look.wait(timeout=60) for look in looks] == [0, 0]
        watch.tokens = set((folder / "tokens").read_text().split())
        watch.arguments = (folder / "arguments").read_text(errors="replace")


def private_keys(cluster: Cluster) -> set[str]:
    """Return a line from the middle of each private key that control planes share."""
    keys = "ca.key sa.key front-proxy-ca.key etcd/ca.key"
    text = cluster.shell(
        cluster.control_plane, f"cd /etc/kubernetes/pki && for key in {keys}; do sed -n 10p $key; done"
    )
    return set(text.split())


def require_nowhere(cluster: Cluster, secrets: set[str], *, printed: str, seen: str, besides: str) -> None:
    """Assert that no output, process, journal or file, here or on a host, has secrets, except ``besides``."""
    for secret in secrets:
        assert secret not in printed
        assert secret not in seen
    reports = ROOT.glob(f"{cluster.name}*.log")
    for path in (*cluster.folder.rglob("*"), *reports, *Path("/tmp").glob("pyinfra*")):
        content = _content(path)
        assert not [secret for secret in secrets if secret.encode() in content], path
    patterns = "\n".join(sorted(secrets))
    # Images contain nothing of this cluster.
    pruned = (
        f"\\( -path /proc -o -path /sys -o -path /dev -o -path /var/lib/containerd -o {besides} \\) -prune"
    )
    look = (
        f"find / {pruned} -o -type f -size -100M -print0 2> /dev/null | "
        "xargs -0 grep --files-with-matches --fixed-strings --file /tmp/patterns --exclude patterns; "
        "journalctl --no-pager --output cat | grep --fixed-strings --file /tmp/patterns; true"
    )
    for host in cluster.hosts:
        cluster.shell(host.name, f"cat > /tmp/patterns <<'END'\n{patterns}\nEND")
        try:
            found = cluster.shell(host.name, look)
        finally:
            cluster.shell(host.name, "rm /tmp/patterns")
        assert found == "", f"{host.name}: {found}"


def _content(path: Path) -> bytes:
    """Return a file's content; it may be gone, since concurrent runs remove their files."""
    try:
        return path.read_bytes() if path.is_file() else b""
    except FileNotFoundError:
        return b""
