"""After a failed run: ask the machines what a maintainer would ask, and write it into one file.

pyinfra calls a state's callback handlers: for each operation and host its beginning and end, and ``host_disconnect``
at the end of every run, when hosts can still be asked. What is asked then changes neither a machine nor the run's own
error and exit code.
"""

# pyinfra declares its callbacks static, and calls them on an instance.
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

from kubeadm_deploys import diagnosis
from kubeadm_deploys.cluster.join_credentials import JoinCredentials
from kubeadm_deploys.connections import NoAnswer
from kubeadm_deploys.failure_report import Failure, file_name, report
from kubeadm_deploys.local_files import write_private
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations import direct
from kubeadm_deploys.options import ClusterOptions
from kubeadm_deploys.redaction import secret_values
from kubeadm_deploys.run_parts import part

_ANSWER_SECONDS = 10
"""How long a machine has to show that it still answers."""

_OUTPUT_LINES = 400
"""How much of the run's own output the report repeats."""


class _Output(logging.Handler):
    """The last lines that pyinfra printed."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: deque[str] = deque(maxlen=_OUTPUT_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line, without its colours."""
        message = re.sub(r"\x1b\[[0-9;]*m", "", record.getMessage())
        self.lines.append(f"{time.strftime('%H:%M:%S')} {message}")


class FailureReport(BaseStateCallback):
    """What has failed in this process so far, and the file about it at the end."""

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
        """Operations run: what fails from now on is not the plan."""
        self._began = True

    def operation_host_start(self, state: State, host: Host, op_hash: str) -> None:
        """Remember where the operation runs: an exception ends the run without another callback."""
        self._running[host, op_hash] = gevent.getcurrent()

    def operation_host_success(self, state: State, host: Host, op_hash: str, retry_count: int = 0) -> None:
        """The operation is done."""
        self._running.pop((host, op_hash), None)

    def operation_host_error(
        self, state: State, host: Host, op_hash: str, retry_count: int = 0, max_retries: int = 0
    ) -> None:
        """The operation has failed, which its caller may have allowed."""
        self._running.pop((host, op_hash), None)
        if not state.get_op_data_for_host(host, op_hash).global_arguments["_ignore_errors"]:
            self._failed.append((host, op_hash))

    def host_disconnect(self, state: State, host: Host) -> None:
        """The run ends: the first host to leave makes the report, the others stay until it is made."""
        with self._turn:
            if self._ended:
                return
            self._ended = True
            try:
                failures = dict(self._failures(state))
                if self._began and failures and not self.interrupted:
                    self._write(state, failures)
            # Whatever is wrong here, the operator needs the error of the run and not this one.
            except Exception as error:
                logger.warning(f"--> Warning: no report could be written: {error}")

    def _failures(self, state: State) -> Iterator[tuple[Host, Failure]]:
        """Hosts that failed and how; of what is said of one host the last counts."""
        for each in state.inventory:
            if each in state.failed_hosts and each in state.activated_hosts:
                yield each, Failure(host=each.name, operation="a fact could not be read")
        for each, op_hash in self._failed:
            said = state.get_op_data_for_host(each, op_hash).operation_meta
            error = said.stderr or said.stdout if said.is_complete() else ""
            yield each, Failure(host=each.name, operation=_name(state, op_hash), error=error)
        for (each, op_hash), where in self._running.items():
            raised = where.exception if isinstance(where, gevent.Greenlet) else None
            if isinstance(raised, Exception):
                error = "".join(traceback.format_exception(raised))
                yield each, Failure(host=each.name, operation=_name(state, op_hash), error=error)

    def _write(self, state: State, failures: dict[Host, Failure]) -> None:
        asked = [*failures, *self._healthy(state, failures)]
        logger.info(f"--> Asking {', '.join(each.name for each in asked)} what a maintainer would ask")
        greenlets = {each.name: gevent.spawn(_diagnosis, each) for each in asked}
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
            machines={name: each.value or "" for name, each in greenlets.items()},
            secrets=_secrets(state),
        )
        path = Path.cwd() / file_name(cluster_name=self._options.cluster_name, now=now)
        write_private(path, text)
        # pyinfra has its own error still to print.
        atexit.register(logger.warning, f"--> What a maintainer would ask for is in {path}")

    def _healthy(self, state: State, failures: dict[Host, Failure]) -> list[Host]:
        """One control plane that has not failed, if there is one, to say what the cluster looks like."""
        hosts = [inventory.get_host(node.host) for node in self._topology.control_planes]
        return [
            each
            for each in hosts
            if each.connected and each not in failures and each not in state.failed_hosts
        ][:1]


def _name(state: State, op_hash: str) -> str:
    return ", ".join(sorted(state.get_op_meta(op_hash).names))


def _diagnosis(each: Host) -> str:
    """What a machine says of itself, or that it does not."""
    answers, said = _run(each, StringCommand("true"), seconds=_ANSWER_SECONDS)
    if not answers:
        return f"does not answer any more: {said}"
    return _run(each, diagnosis.DIAGNOSE, seconds=diagnosis.SECONDS + 30)[1]


def _run(each: Host, command: StringCommand, *, seconds: int) -> tuple[bool, str]:
    # What only reads is asked also when the run has lost its lock.
    try:
        done, output = direct.attempt(each, command, seconds=seconds)
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
    """The secrets that this process knows: the run's own, and those that it was given or has asked for."""
    given: list[Mapping[str, object]] = [os.environ, {"SUDO_PASSWORD": state.config.SUDO_PASSWORD}]
    for each in state.inventory:
        given += [each.data.dict(), each.connector_data]
    return {part(state, JoinCredentials).token}.union(*map(secret_values, given))


def report_failure(*, options: ClusterOptions, topology: Topology) -> None:
    """Have this run, if it fails while operations run, end with a file about it and the file's path.

    For entry scripts, which pyinfra executes once for each host; to be called before ``one_run_at_a_time``, so that
    the lock is held until the machines have been asked.
    """
    state = host.state
    if any(isinstance(handler, FailureReport) for handler in state.callback_handlers):
        return
    callback = FailureReport(options=options, topology=topology)
    state.add_callback_handler(callback)
    logger.addHandler(callback.output)
    _note_interrupt(callback)


def _note_interrupt(callback: FailureReport) -> None:
    """Ctrl-C ends commands too, which looks like their failure; whoever stops a run knows why it ended."""
    before = signal.getsignal(signal.SIGINT)

    def noted(number: int, frame: FrameType | None) -> None:
        callback.interrupted = True
        (before if callable(before) else signal.default_int_handler)(number, frame)

    signal.signal(signal.SIGINT, noted)
