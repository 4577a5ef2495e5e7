"""Real clusters on docker hosts, made once and used by many tests, removed at the end however it goes."""

import fcntl
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import machine, stopwatch, turns
from tests.e2e.room import places, room
from tests.lab import hosts, inotify, layout
from tests.lab.docker import docker

ROOT = Path(__file__).parents[2]
PYINFRA = str(Path(sys.executable).with_name("pyinfra"))
_PROCESSORS = pytest.StashKey[stopwatch.Processors]()

LONGEST_RUN = 1200
"""Seconds after which a command line is ended: a run that hangs would take all the time that there is."""

PREFIX = "e2e"
"""Clusters of the tests begin with this, so that they are told from a user's own."""


@dataclass(frozen=True)
class Run:
    """One run of a command line."""

    exit_code: int
    stdout: str
    output: str

    @property
    def changed(self) -> list[str]:
        """Names of the operations that changed a host, in the order in which they ran."""
        return [operation["name"] for operation in self.operations if operation["success"]]

    @property
    def operations(self) -> list[dict[str, Any]]:
        """pyinfra's own account of every operation."""
        return list(json.loads(self.stdout)["results"]["operations"])


@dataclass(frozen=True)
class Cluster:
    """Docker hosts, and pyinfra's command line on them."""

    name: str
    folder: Path
    machine_before: machine.Snapshot = field(default_factory=dict)

    @property
    def hosts(self) -> list[hosts.Host]:
        return hosts.list_hosts(cluster=self.name)

    @property
    def control_planes(self) -> list[str]:
        """Names of the control planes' containers that run."""
        return [host.name for host in self.hosts if host.group == "control_plane" and host.running]

    @property
    def control_plane(self) -> str:
        """Name of the first control plane's container that runs."""
        return self.control_planes[0]

    @property
    def worker(self) -> str:
        """Name of the first worker's container."""
        return next(host.name for host in self.hosts if host.group == "workers")

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def command(
        self,
        *arguments: str,
        deploy: str | Path = ROOT / "deploys/cluster.py",
        inventory: str | Path = ROOT / "inventories/docker.py",
    ) -> list[str]:
        """The arguments of pyinfra for a deploy on the hosts, with CLUSTER in the environment."""
        return [*arguments, f"--data=kubeconfig={self.kubeconfig}", str(inventory), str(deploy)]

    def pyinfra(
        self,
        *arguments: str,
        deploy: str | Path = ROOT / "deploys/cluster.py",
        inventory: str | Path = ROOT / "inventories/docker.py",
    ) -> Run:
        """Run a deploy on the hosts, from the checkout's folder as a user would."""
        return run_command(
            *self.command(*arguments, deploy=deploy, inventory=inventory), environment={"CLUSTER": self.name}
        )

    def remove_node(self, node: str, *arguments: str) -> Run:
        """Run remove_node.py."""
        return self.pyinfra("-y", f"--data=node={node}", *arguments, deploy=ROOT / "deploys/remove_node.py")

    def converge(self, *arguments: str, inventory: str | Path = ROOT / "inventories/docker.py") -> Run:
        """Run cluster.py for real, and demand success."""
        run = self.pyinfra("-y", "--json", *arguments, inventory=inventory)
        assert run.exit_code == 0, run.output
        return run

    def recorded(self) -> tuple[Run, dict[str, int]]:
        """Run cluster.py for real, and demand success; with how many commands each host was sent."""
        record = self.folder / "record.jsonl"
        run = run_command(
            *self.command("-y", "--json"),
            environment={"CLUSTER": self.name},
            program=(sys.executable, "-m", "tests.bench.recorder", str(record)),
        )
        assert run.exit_code == 0, run.output
        hosts = Counter(json.loads(line)["host"] for line in record.read_text().splitlines())
        return run, {host.removeprefix("@docker/"): count for host, count in hosts.items()}

    def verify(self, *arguments: str) -> Run:
        """Run the verification suites that are shipped to users."""
        return run_command(
            *("-m", "pytest", "--pyargs", "kubeadm_deploys.verification", "-p", "no:cacheprovider"),
            *("--inventory", str(ROOT / "inventories/docker.py")),
            *arguments,
            environment={"CLUSTER": self.name},
            folder=self.folder,
            program=(sys.executable,),
        )

    def shell(self, host: str, command: str) -> str:
        """Run a command on a host and return what it prints."""
        done = subprocess.run(["docker", "exec", host, "sh", "-c", command], capture_output=True, text=True)
        assert done.returncode == 0, f"{command!r} on {host}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def kubectl(self, *arguments: str) -> str:
        """kubectl on the first control plane that is a member."""
        command = ("docker", "exec", self._member(), "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf")
        done = subprocess.run([*command, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, f"kubectl {arguments}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    @property
    def ready_nodes(self) -> list[str]:
        """Names of the nodes that are Ready."""
        nodes = json.loads(self.kubectl("get", "nodes", "--output=json"))["items"]
        ready = {"type": "Ready", "status": "True"}.items()
        return sorted(
            node["metadata"]["name"]
            for node in nodes
            if any(ready <= condition.items() for condition in node["status"]["conditions"])
        )

    def apply(self, *documents: Mapping[str, Any]) -> None:
        """Have these objects in the cluster."""
        kubectl = ("kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "apply", "--filename=-")
        listed = {"apiVersion": "v1", "kind": "List", "items": documents}
        docker("exec", "--interactive", self._member(), *kubectl, input=json.dumps(listed))

    def _member(self) -> str:
        """A new machine may be the first control plane, and not have joined yet."""
        has_joined = "test -e /etc/kubernetes/admin.conf && echo yes; true"
        return next(name for name in self.control_planes if self.shell(name, has_joined))


def run_command(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    folder: Path = ROOT,
    program: Sequence[str] = (PYINFRA,),
) -> Run:
    """Run a command line, pyinfra's unless another program is named, in a folder."""
    with stopwatch.counted(stopwatch.RUN):
        try:
            done = subprocess.run(
                [*program, *arguments],
                cwd=folder,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LONGEST_RUN,
            )
        except subprocess.TimeoutExpired as error:
            printed = "".join(
                text.decode() for text in (error.stdout, error.stderr) if isinstance(text, bytes)
            )
            raise AssertionError(f"it did not end within {LONGEST_RUN} s: {printed}") from None
    return Run(exit_code=done.returncode, stdout=done.stdout, output=done.stdout + done.stderr)


FIRST = (
    *("test_high_availability", "test_high_availability_growth", "test_recovery_foreign"),
    *("test_secrets", "test_sections"),
    *("test_lab_hetzner", "test_recovery_vm", "test_guards"),
)
"""Modules that take most of the room, each with one after it that needs none; then what takes longest of the others.

On two processors the first two have their turns on different days.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have what takes all the room begin while there is something to do beside it."""
    rank = {f"{name}.py": number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(FIRST)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Have the report of each part of a test say what the stopwatch counted in it."""
    report = yield
    report.user_properties = [*report.user_properties, (stopwatch.PROPERTY, stopwatch.taken())]
    return report


def pytest_sessionstart(session: pytest.Session) -> None:
    """Look at the processors from now on."""
    session.config.stash[_PROCESSORS] = stopwatch.Processors()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what tests have measured (``record_property("measured", ...)``), the bare names of those that failed, and where
    the time went.

    pytest's own lines of those that failed can be as long as everything that a run printed.
    """
    parts = [
        (report.nodeid, report.duration, counts)
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport)
        for name, counts in report.user_properties
        if name == stopwatch.PROPERTY and isinstance(counts, dict)
    ]
    elapsed, busy = config.stash[_PROCESSORS].since()
    for line in stopwatch.table(parts, elapsed=elapsed, busy=busy):
        terminalreporter.write_line(line)
    for outcome in ("failed", "error"):
        for report in terminalreporter.getreports(outcome):
            terminalreporter.write_line(f"{outcome}: {report.nodeid}")
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "measured":
                terminalreporter.write_line(f"measured: {value}")


def lab_command(*arguments: str) -> None:
    """Run one of the lab's own commands, as the Makefile does."""
    subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, check=True)


@pytest.fixture(scope="session")
def lab(testrun_uid: str) -> Iterator[None]:
    """Docker and, where the official hosts cannot be reached, the mirror; nothing of an earlier, killed run.

    The processes of one run (pytest-xdist) share it, and the first of them begins; those of another run wait here for
    the end of all.
    """
    folder = layout.cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "e2e.lock").open("a+") as lock:
        with (folder / "e2e.entry").open("w") as entry:
            fcntl.flock(entry, fcntl.LOCK_EX)
            lock.seek(0)
            if lock.read() != testrun_uid:
                fcntl.flock(lock, fcntl.LOCK_EX)
                _begin()
                lock.truncate(0)
                lock.write(testrun_uid)
                lock.flush()
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield
        # The last process of a run is the one that finds nobody else.
        fcntl.flock(lock, fcntl.LOCK_UN)
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            inotify.put_back()


def _begin() -> None:
    lab_command("tests.lab.daemon", "start")
    lab_command("tests.lab.mirror", "build", "--kubernetes", turns.VERSION)
    lab_command("tests.lab.mirror", "serve")
    inotify.raised()
    for leftover in {host.cluster for host in hosts.list_hosts() if host.cluster.startswith(f"{PREFIX}-")}:
        hosts.down(cluster=leftover)


@contextmanager
def docker_hosts(
    name: str,
    *,
    folder: Path,
    control_planes: int = 1,
    workers: int = 1,
    takes: int | None = None,
    **arguments: Any,
) -> Iterator[Cluster]:
    """Bare hosts for a while; the other ``arguments`` are those of ``tests.lab.hosts.up``.

    ``takes`` is the room that the cluster takes in the course of its life, if it is not that of its first hosts.
    """
    if takes is None:
        takes = places(control_planes=control_planes, workers=workers)
    with room(takes):
        cluster = Cluster(name=f"{PREFIX}-{name}", folder=folder, machine_before=machine.snapshot())
        try:
            hosts.up(cluster=cluster.name, control_planes=control_planes, workers=workers, **arguments)
            yield cluster
        finally:
            hosts.down(cluster=cluster.name)
            for report in ROOT.glob(f"{cluster.name}-failure-*.log"):
                report.unlink()


@dataclass(frozen=True)
class Converged:
    """A cluster that one run of cluster.py made of bare hosts, and that run."""

    cluster: Cluster
    first_run: Run


@pytest.fixture(scope="module")
def converged(
    lab: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Converged]:
    """One control plane on Debian 12 and one worker on Debian 13, shared by all tests that put back what they change."""
    name = request.path.stem.removeprefix("test_").replace("_", "-")
    with docker_hosts(name, folder=tmp_path_factory.mktemp(name), debian=(12, 13)) as cluster:
        yield Converged(cluster=cluster, first_run=cluster.converge())


@pytest.fixture(scope="module")
def bare(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One control plane and one worker to be, as they come from the provider."""
    with docker_hosts("bare", folder=tmp_path_factory.mktemp("bare"), takes=0, debian=(13,)) as cluster:
        yield cluster
