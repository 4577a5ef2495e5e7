"""Collect diagnostics from the machines after a failed run, and write them into one file.

pyinfra calls a state's callback handlers when an operation starts and ends on a host, and ``host_disconnect``
at the end of every run, while hosts are still connected. Collecting diagnostics then changes neither a
machine nor the run's error and exit code.
"""

# pyinfra declares its callbacks as static methods, but calls them on an instance.
# mypy: disable-error-code="override"

import atexit
import logging
import os
import platform
import re
import signal
import time
import traceback
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import FrameType

import gevent
from gevent.lock import BoundedSemaphore
from greenlet import greenlet
from pyinfra import host, inventory, logger
from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, State

from kubeadm_deploys.cluster.join_credentials import JoinCredentials
from kubeadm_deploys.documents.local_files import write_private
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.model.registries import named_secrets
from kubeadm_deploys.remote import direct
from kubeadm_deploys.remote.connections import NoAnswer
from kubeadm_deploys.remote.run_parts import part
from kubeadm_deploys.run import diagnosis
from kubeadm_deploys.run.failure_report import Failure, file_name, report
from kubeadm_deploys.run.redaction import secret_values

_ANSWER_SECONDS = 10
"""Seconds in which a machine must show that it still answers."""

_OUTPUT_LINES = 400
"""Lines of the run's output that the report repeats."""


class _Output(logging.Handler):
    """Keeps the last lines that pyinfra printed."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: deque[str] = deque(maxlen=_OUTPUT_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line, without colours."""
        message = re.sub(r"\x1b\[[0-9;]*m", "", record.getMessage())
        self.lines.append(f"{time.strftime('%H:%M:%S')} {message}")


class FailureReport(BaseStateCallback):
    """Records what fails in this process, and writes the report at the end."""

    def __init__(self, *, options: ClusterOptions, topology: Topology) -> None:
        self.output = _Output()
        self.interrupted = False
        self._options = options
        self._topology = topology
        self._running: dict[tuple[Host, str], greenlet] = {}
        self._failed: list[tuple[Host, str]] = []
        self._began = False
        self._ended = False
        self._turn = BoundedSemaphore()

    def operation_start(self, state: State, op_hash: str) -> None:
        """Note that operations run: a failure from now on is not one of the prepare phase."""
        self._began = True

    def operation_host_start(self, state: State, host: Host, op_hash: str) -> None:
        """Remember the operation: an exception in it ends the run without another callback."""
        self._running[host, op_hash] = gevent.getcurrent()

    def operation_host_success(self, state: State, host: Host, op_hash: str, retry_count: int = 0) -> None:
        """Forget the operation: it has succeeded."""
        self._running.pop((host, op_hash), None)

    def operation_host_error(
        self, state: State, host: Host, op_hash: str, retry_count: int = 0, max_retries: int = 0
    ) -> None:
        """Record the failure, unless the operation ignores errors."""
        self._running.pop((host, op_hash), None)
        if not state.get_op_data_for_host(host, op_hash).global_arguments["_ignore_errors"]:
            self._failed.append((host, op_hash))

    def host_disconnect(self, state: State, host: Host) -> None:
        """Write the report for the first host that disconnects; the other hosts wait and stay connected."""
        with self._turn:
            if self._ended:
                return
            self._ended = True
            try:
                failures = dict(self._failures(state))
                if self._began and failures and not self.interrupted:
                    self._write(state, failures)
            # Any error here must not hide the error of the run.
            except Exception as error:
                logger.warning(f"--> Warning: no report could be written: {error}")

    def _failures(self, state: State) -> Iterator[tuple[Host, Failure]]:
        """Yield the hosts that failed, and how; a later failure of a host replaces an earlier one."""
        for machine in state.inventory:
            if machine in state.failed_hosts and machine in state.activated_hosts:
                yield (
                    machine,
                    Failure(
                        host=machine.name,
                        operation="the machine could not be read (see the output of the run)",
                    ),
                )
        for machine, op_hash in self._failed:
            result = state.get_op_data_for_host(machine, op_hash).operation_meta
            error = result.stderr or result.stdout if result.is_complete() else ""
            yield machine, Failure(host=machine.name, operation=_name(state, op_hash), error=error)
        for (machine, op_hash), running in self._running.items():
            raised = running.exception if isinstance(running, gevent.Greenlet) else None
            if isinstance(raised, Exception):
                error = "".join(traceback.format_exception(raised))
                yield machine, Failure(host=machine.name, operation=_name(state, op_hash), error=error)

    def _write(self, state: State, failures: dict[Host, Failure]) -> None:
        asked = [*failures, *self._healthy(state, failures)]
        logger.info(f"--> Collecting diagnostics from {', '.join(host.name for host in asked)}")
        greenlets = {host.name: gevent.spawn(_diagnosis, host) for host in asked}
        gevent.joinall(list(greenlets.values()))
        now = datetime.now(UTC)
        text = report(
            now=now,
            deploy=state.current_deploy_filename or "a deploy",
            versions=_versions(),
            options=self._options,
            topology=self._topology,
            failures=list(failures.values()),
            output=self.output.lines,
            machines={name: greenlet.value or "" for name, greenlet in greenlets.items()},
            secrets=_secrets(state),
        )
        path = Path.cwd() / file_name(cluster_name=self._options.cluster_name, now=now)
        write_private(path, text)
        # pyinfra prints its error after this callback.
        atexit.register(logger.warning, f"--> Diagnostics (review them before sharing) written to {path}")

    def _healthy(self, state: State, failures: dict[Host, Failure]) -> list[Host]:
        """Return one control plane that has not failed, if any, to show the state of the cluster."""
        hosts = [inventory.get_host(node.host) for node in self._topology.control_planes]
        return [
            host
            for host in hosts
            if host.connected and host not in failures and host not in state.failed_hosts
        ][:1]


def _name(state: State, op_hash: str) -> str:
    return ", ".join(sorted(state.get_op_meta(op_hash).names))


def _diagnosis(machine: Host) -> str:
    """Return a machine's diagnostics, or why it does not answer."""
    answers, output = _run(machine, StringCommand("true"), seconds=_ANSWER_SECONDS)
    if not answers:
        return f"no longer answers: {output}"
    return _run(machine, diagnosis.DIAGNOSE, seconds=diagnosis.SECONDS + 30)[1]


def _run(machine: Host, command: StringCommand, *, seconds: int) -> tuple[bool, str]:
    # These commands only read, so they run even if the lock is lost.
    try:
        done, output = direct.attempt(machine, command, seconds=seconds)
    except NoAnswer as error:
        return False, str(error)
    return done, output.output


def _versions() -> dict[str, str]:
    def version(distribution: str) -> str:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            return "from a checkout"

    return {
        "kubeadm-deploys": version("kubeadm-deploys"),
        "pyinfra": version("pyinfra"),
        "Python": platform.python_version(),
        "operator's machine": platform.platform(),
    }


def _secrets(state: State) -> set[str]:
    """Return the known secrets: the join token, and those in the environment, data and prompts."""
    given: list[Mapping[str, object]] = [os.environ, {"SUDO_PASSWORD": state.config.SUDO_PASSWORD}]
    for machine in state.inventory:
        given += [machine.data.dict(), machine.connector_data]
    registries = [named_secrets(data.get("registries")) for data in given]
    return {part(state, JoinCredentials).token}.union(*map(secret_values, given), *registries)


def report_on_failure(*, options: ClusterOptions, topology: Topology) -> None:
    """Register the failure report: a run that fails while operations run writes it and ends with its path.

    Call it from entry scripts, which pyinfra executes once for each host, and before ``acquire_run_lock``:
    then the lock is held until the diagnostics have been collected.
    """
    state = host.state
    if any(isinstance(handler, FailureReport) for handler in state.callback_handlers):
        return
    callback = FailureReport(options=options, topology=topology)
    state.add_callback_handler(callback)
    logger.addHandler(callback.output)
    _note_interrupt(callback)


def _note_interrupt(callback: FailureReport) -> None:
    """Record Ctrl-C. It also ends commands, which looks like a failure, but needs no report."""
    before = signal.getsignal(signal.SIGINT)

    def noted(number: int, frame: FrameType | None) -> None:
        callback.interrupted = True
        (before if callable(before) else signal.default_int_handler)(number, frame)

    signal.signal(signal.SIGINT, noted)
