"""Real clusters on docker hosts, made once, shared by many tests, and always removed at the end."""

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
from xdist.scheduler import LoadFileScheduling

from tests.e2e import machine, stopwatch
from tests.e2e.room import places, room
from tests.lab import hosts, inotify, layout
from tests.lab.mirror.components import RELEASES

ROOT = Path(__file__).parents[2]
PYINFRA = str(Path(sys.executable).with_name("pyinfra"))
_PROCESSORS = pytest.StashKey[stopwatch.Processors]()

LONGEST_RUN = 1200
"""Timeout of a command line in seconds, so that a run that hangs does not block the others for ever."""

VERSION, OLDER = RELEASES
"""The lab's two minor versions of Kubernetes: the product's default, and the one before."""

_ADMIN = "/etc/kubernetes/admin.conf"
_HAS_NOT_JOINED = 78
"""An exit code that neither kubectl nor docker has."""

PREFIX = "e2e"
"""Prefix of the tests' cluster names, which distinguishes them from a user's own clusters."""


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
        """pyinfra's results of every operation."""
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
        """Names of the control planes' running containers."""
        return [host.name for host in self.hosts if host.group == "control_plane" and host.running]

    @property
    def control_plane(self) -> str:
        """Name of the first control plane's running container."""
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
        """Return pyinfra's arguments for a deploy on the hosts; they need CLUSTER in the environment."""
        return [*arguments, f"--data=kubeconfig={self.kubeconfig}", str(inventory), str(deploy)]

    def pyinfra(
        self,
        *arguments: str,
        deploy: str | Path = ROOT / "deploys/cluster.py",
        inventory: str | Path = ROOT / "inventories/docker.py",
    ) -> Run:
        """Run a deploy on the hosts from the checkout's folder, as a user does."""
        return run_command(
            *self.command(*arguments, deploy=deploy, inventory=inventory), environment={"CLUSTER": self.name}
        )

    def remove_node(self, node: str, *arguments: str) -> Run:
        """Run remove_node.py."""
        return self.pyinfra("-y", f"--data=node={node}", *arguments, deploy=ROOT / "deploys/remove_node.py")

    def converge(self, *arguments: str, inventory: str | Path = ROOT / "inventories/docker.py") -> Run:
        """Run cluster.py for real, and assert success."""
        run = self.pyinfra("-y", "--json", *arguments, inventory=inventory)
        assert run.exit_code == 0, run.output
        return run

    def recorded(
        self, *arguments: str, inventory: str | Path = ROOT / "inventories/docker.py"
    ) -> tuple[Run, dict[str, int]]:
        """Run cluster.py for real, assert success, and also return the number of commands per host."""
        record = self.folder / "record.jsonl"
        run = run_command(
            *self.command("-y", "--json", *arguments, inventory=inventory),
            environment={"CLUSTER": self.name},
            program=(sys.executable, "-m", "tests.bench.recorder", str(record)),
        )
        assert run.exit_code == 0, run.output
        hosts = Counter(json.loads(line)["host"] for line in record.read_text().splitlines())
        return run, {host.removeprefix("@docker/"): count for host, count in hosts.items()}

    def verify(self, *arguments: str) -> Run:
        """Run the verification suites that users get."""
        return run_command(
            *("-m", "pytest", "--pyargs", "kubeadm_deploys.verification", "-p", "no:cacheprovider"),
            *("--inventory", str(ROOT / "inventories/docker.py")),
            *arguments,
            environment={"CLUSTER": self.name},
            folder=self.folder,
            program=(sys.executable,),
        )

    def shell(self, host: str, command: str) -> str:
        """Run a command on a host and return its output."""
        done = completed(["docker", "exec", host, "sh", "-c", command])
        assert done.returncode == 0, f"{command!r} on {host}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl on the first control plane that has joined, and return its output."""
        return self._kubectl(arguments)

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
        """Apply these objects in the cluster."""
        listed = {"apiVersion": "v1", "kind": "List", "items": documents}
        self._kubectl(("apply", "--filename=-"), stdin=json.dumps(listed))

    def _kubectl(self, arguments: tuple[str, ...], *, stdin: str = "") -> str:
        # The first control plane may be a new machine, which has no kubeconfig yet. It says so in the same
        # command: each one costs as much as kubectl.
        script = f'[ -e {_ADMIN} ] || exit {_HAS_NOT_JOINED}; exec kubectl --kubeconfig={_ADMIN} "$@"'
        for name in self.control_planes:
            command = ["docker", "exec", "--interactive", name, "sh", "-c", script, "kubectl", *arguments]
            done = completed(command, input=stdin)
            if done.returncode != _HAS_NOT_JOINED:
                assert done.returncode == 0, f"kubectl {arguments}: {done.stdout}{done.stderr}"
                return done.stdout.strip()
        raise AssertionError(f"kubectl {arguments}: no control plane has joined")


def run_command(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    folder: Path = ROOT,
    program: Sequence[str] = (PYINFRA,),
) -> Run:
    """Run a command line in a folder, with pyinfra unless another program is given."""
    with stopwatch.counted(stopwatch.RUN):
        done = completed([*program, *arguments], cwd=folder, env={**os.environ, **(environment or {})})
    return Run(exit_code=done.returncode, stdout=done.stdout, output=done.stdout + done.stderr)


def completed(
    command: Sequence[str], *, input: str | None = None, **arguments: Any
) -> "subprocess.CompletedProcess[str]":
    """Run a command, with nothing on stdin unless there is ``input``; fail with its output if it does not end in time."""
    stdin = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=LONGEST_RUN, **stdin, **arguments
        )
    except subprocess.TimeoutExpired as error:
        printed = "".join(text.decode() for text in (error.stdout, error.stderr) if isinstance(text, bytes))
        raise AssertionError(f"{command} did not end within {LONGEST_RUN} s: {printed}") from None


FIRST = (
    # The longest. Until it ends, there is room for one control plane and one worker beside it.
    "three",
    *("test_recovery_foreign", "test_sections", "live", "test_restore"),
    *("test_recovery_faults", "test_recovery_vm"),
    *("test_recovery", "test_high_availability_growth", "small", "test_guards", "test_hetzner"),
    "test_official_hosts",
)
"""Modules and packages in starting order."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start modules and packages in the order of ``FIRST``."""
    rank = {name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(Path(unit(item.nodeid)).stem, len(FIRST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a package, whose modules share a cluster, to one process, as `--dist loadfile` does a module."""
    # `--dist loadgroup` would do this, but xdist 3.8 stores groups in a field that pytest 9.2 does not read.
    scheduler = LoadFileScheduling(config, log)
    scheduler._split_scope = unit
    return scheduler


def unit(nodeid: str) -> str:
    """Return the path of a test's package, or of its module if it is in no package."""
    path = Path(nodeid.partition("::")[0])
    return str(path.parent if (ROOT / path.parent / "__init__.py").exists() else path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the stopwatch's counts to the report of each phase of a test."""
    report = yield
    report.user_properties = [*report.user_properties, (stopwatch.PROPERTY, stopwatch.taken())]
    return report


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start measuring the processors' load."""
    session.config.stash[_PROCESSORS] = stopwatch.Processors()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print time spent, names of failed tests, and measurements (``record_property("measured", ...)``).

    pytest's own line of a failed test can contain the whole output of a run.
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
    """Start docker and, if the official hosts cannot be reached, the mirror; remove what a killed run left.

    The processes of one run (pytest-xdist) share the lab, and the first of them starts it. The processes of
    another run wait here until all of them have ended.
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
        # Only the last process of a run gets the exclusive lock.
        fcntl.flock(lock, fcntl.LOCK_UN)
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            inotify.put_back()


def _begin() -> None:
    lab_command("tests.lab.daemon", "start")
    lab_command("tests.lab.mirror", "build", "--kubernetes", *RELEASES)
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
    """Run bare hosts until the context ends; ``arguments`` are passed to ``tests.lab.hosts.up``.

    ``takes`` is the most room that the cluster ever needs, by default that of its first hosts.
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
