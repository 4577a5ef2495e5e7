"""What must stay secret is looked for by its value, wherever a run could have left it."""

import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, Cluster, docker_hosts
from tests.e2e.recovery import output, start

# The Secrets of tokens, as "id.secret" in base64 each; none before there is an API.
_TOKENS = (
    "kubectl --kubeconfig /etc/kubernetes/admin.conf --namespace kube-system get secrets "
    "--field-selector type=bootstrap.kubernetes.io/token --output "
    """'go-template={{range .items}}{{index .data "token-id" | base64decode}}.{{index .data "token-secret" | base64decode}}"""
    """{{"\\n"}}{{end}}' 2> /dev/null; true"""
)
_PROCESSES = "cat /proc/[0-9]*/cmdline 2> /dev/null | tr '\\0' ' '"


@dataclass
class Watch:
    """What was seen while a run went on."""

    cluster: Cluster
    tokens: set[str] = field(default_factory=set)
    processes: set[str] = field(default_factory=set)
    error: BaseException | None = None
    _ended: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        """Look until the run has ended: at every process of the hosts and of this machine, and for tokens.

        Whatever keeps it from that is its ``error``: a thread would end without a word.
        """
        try:
            while not self._ended.wait(0.3):
                self._look_once()
        except BaseException as error:
            self.error = error

    def _look_once(self) -> None:
        names = [host.name for host in self.cluster.hosts]
        self.processes.add(subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout)
        self.processes |= {self.cluster.shell(name, _PROCESSES) for name in names}
        self.tokens |= set(self.cluster.shell(self.cluster.control_plane, _TOKENS).split())

    def end(self) -> None:
        self._ended.set()


@dataclass(frozen=True)
class Watched:
    """A cluster made by a run that says all it can, and what was seen of it."""

    cluster: Cluster
    watch: Watch
    printed: str


@pytest.fixture(scope="module")
def watched(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Two control planes, so that keys go from one to the other, and a worker."""
    folder = tmp_path_factory.mktemp("secrets")
    with docker_hosts("secrets", folder=folder, control_planes=2, workers=1, debian=(13,)) as cluster:
        watch = Watch(cluster=cluster)
        looking = threading.Thread(target=watch.look)
        with start(cluster, "-vvv", "--debug") as run:
            looking.start()
            exit_code = run.wait()
        watch.end()
        looking.join()
        assert watch.error is None, watch.error
        assert exit_code == 0, output(cluster)[-5000:]
        yield Watched(cluster=cluster, watch=watch, printed=output(cluster))


def private_keys(cluster: Cluster) -> set[str]:
    """A line from the middle of each private key that control planes share."""
    keys = "ca.key sa.key front-proxy-ca.key etcd/ca.key"
    text = cluster.shell(
        cluster.control_plane, f"cd /etc/kubernetes/pki && for key in {keys}; do sed -n 10p $key; done"
    )
    return set(text.split())


def test_no_token_is_left_and_none_was_to_be_seen(watched: Watched) -> None:
    cluster, tokens = watched.cluster, watched.watch.tokens
    assert tokens, "no token was ever there: this test would show nothing"
    assert all(re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}", token) for token in tokens)
    assert cluster.shell(cluster.control_plane, _TOKENS) == ""
    require_nowhere(watched, tokens, besides="-path /var/lib/etcd")


def test_no_private_key_is_anywhere_but_in_its_place(watched: Watched) -> None:
    keys = private_keys(watched.cluster)
    assert len(keys) == 4
    require_nowhere(watched, keys, besides="-path /etc/kubernetes/pki")
    assert watched.cluster.shell(watched.cluster.worker, "ls /etc/kubernetes/pki") == "ca.crt"


def require_nowhere(watched: Watched, secrets: set[str], *, besides: str) -> None:
    """These are in no output, process, journal or file, neither here nor on a host; ``besides`` is where they belong."""
    for secret in secrets:
        assert secret not in watched.printed
        assert not [listed for listed in watched.watch.processes if secret in listed]
    here = [*watched.cluster.folder.rglob("*"), *ROOT.glob("*.log"), *Path("/tmp").glob("pyinfra*")]
    for path in here:
        if path.is_file():
            content = path.read_bytes()
            assert not [secret for secret in secrets if secret.encode() in content], path
    patterns = "\n".join(sorted(secrets))
    # Images hold nothing of this cluster.
    pruned = (
        f"\\( -path /proc -o -path /sys -o -path /dev -o -path /var/lib/containerd -o {besides} \\) -prune"
    )
    look = (
        f"find / {pruned} -o -type f -size -100M -print0 2> /dev/null | "
        "xargs -0 grep --files-with-matches --fixed-strings --file /tmp/patterns --exclude patterns; "
        "journalctl --no-pager --output cat | grep --fixed-strings --file /tmp/patterns; true"
    )
    for host in watched.cluster.hosts:
        watched.cluster.shell(host.name, f"cat > /tmp/patterns <<'END'\n{patterns}\nEND")
        try:
            found = watched.cluster.shell(host.name, look)
        finally:
            watched.cluster.shell(host.name, "rm /tmp/patterns")
        assert found == "", f"{host.name}: {found}"


def test_the_operators_files_are_the_kubeconfig_alone(watched: Watched) -> None:
    files = {path.name for path in watched.cluster.folder.rglob("*") if path.is_file()}
    assert files == {"kubeconfig", "output"}


def test_the_run_said_all_it_could(watched: Watched) -> None:
    """Otherwise the tests above would have searched in too little."""
    assert len(watched.printed) > 100_000
    assert "Join the cluster" in watched.printed
