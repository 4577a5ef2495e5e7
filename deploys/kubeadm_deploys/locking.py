"""One run at a time on a cluster: taken before the first operation, kept while the run lasts, given up at its end.

pyinfra calls a state's callback handlers: ``operation_start`` for each operation before any host runs it, never with
``--dry``; ``host_disconnect`` at the end of every run, also after a failure and Ctrl-C, when hosts can still be told
something.
"""

# pyinfra declares its callbacks static, and calls them on an instance.
# mypy: disable-error-code="override"

import atexit
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import gevent
from gevent.lock import BoundedSemaphore
from pyinfra import host, inventory, logger
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import DeployError
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, State

from kubeadm_deploys import run_lock
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations import direct

_ANSWER_SECONDS = 10
"""How long a control plane has to answer; without it, the others' locks are enough."""


class RunLock(BaseStateCallback):
    """The lock of this process on every control plane that it is connected to."""

    def __init__(self, *, topology: Topology, holder: run_lock.Holder, folder: str) -> None:
        self._topology = topology
        self._holder = holder
        self._folder = folder
        self._hosts: list[Host] = []
        self._renewed: float | None = None
        self._lost = ""
        # What renews must not do so after the release.
        self._turn = BoundedSemaphore()

    def operation_start(self, state: State, op_hash: str) -> None:
        """Go on only with the lock.

        Raises:
            DeployError: another run has it.
        """
        if self._renewed is None:
            self._take()
        elif time.time() - self._renewed > run_lock.LEASE:
            # The operator's machine was asleep.
            self._renew()
        if self._lost:
            raise DeployError(self._lost)

    def host_disconnect(self, state: State, host: Host) -> None:
        """The run ends."""
        self.release()

    def release(self) -> None:
        """Give the lock up where this run has it; what cannot be reached expires."""
        with self._turn:
            hosts, self._hosts = self._hosts, []
            _in_parallel(lambda each: self._run(each, self._release_command()), hosts)

    def _take(self) -> None:
        self._renewed = time.time()
        nodes = self._topology.control_planes
        # Reading the cluster's state has connected to each that can be reached.
        hosts = [each for node in nodes if (each := inventory.get_host(node.host)).connected]
        # Of two runs that begin at once the first host lets one go on; without it each could stop the other.
        for some in (hosts[:1], hosts[1:]):
            self._hosts += some
            if held := self._take_on(some, warn=True):
                self.release()
                raise DeployError(run_lock.refusal(held, now=datetime.now()))
        if self._hosts:
            gevent.spawn(self._keep)

    def _keep(self) -> None:
        while self._hosts:
            gevent.sleep(run_lock.RENEWAL)
            self._renew()

    def _renew(self) -> None:
        with self._turn:
            # A control plane that has rebooted meanwhile gets its lock again.
            if held := self._take_on(self._hosts):
                self._lost = run_lock.loss(held, now=datetime.now())
            self._renewed = time.time()

    def _take_on(self, hosts: Sequence[Host], *, warn: bool = False) -> run_lock.Held | None:
        """Take or renew the lock; returns the first other run that has it."""

        def take(each: Host) -> run_lock.Held | None:
            try:
                held = self._ask(each)
                if held and run_lock.has_died(held.holder, controller=self._holder.controller):
                    held = self._ask(each, dead=held.holder.run)
            except ValueError as error:
                # A lock must not stand in the way of a repair.
                if warn:
                    logger.warning(
                        f"--> Warning: {each.name}: no lock could be taken ({error}), another run is not noticed there"
                    )
                return None
            return held

        return next((held for held in _in_parallel(take, hosts) if held), None)

    def _ask(self, each: Host, *, dead: str = "") -> run_lock.Held | None:
        return run_lock.read_answer(
            self._run(each, run_lock.take_command(self._holder, dead=dead, folder=self._folder))
        )

    def _release_command(self) -> StringCommand:
        return run_lock.release_command(self._holder, folder=self._folder)

    @staticmethod
    def _run(each: Host, command: StringCommand) -> list[str]:
        """Run a command and return its lines, and what went wrong if it did, which is nobody's error."""
        try:
            with gevent.Timeout(_ANSWER_SECONDS, TimeoutError(f"no answer in {_ANSWER_SECONDS} s")):
                return direct.run(each, command)[1].output_lines
        # Connectors fail in many ways with a machine that is gone; the lock is not worth an end of the run.
        except Exception as error:
            return [str(error) or type(error).__name__]


def _in_parallel(work: Callable[[Host], Any], hosts: Sequence[Host]) -> list[Any]:
    greenlets = [gevent.spawn(work, each) for each in hosts]
    gevent.joinall(greenlets)
    return [greenlet.value for greenlet in greenlets]


def one_run_at_a_time(*, topology: Topology, folder: str = run_lock.FOLDER) -> None:
    """Have this run stop before its first operation when another one is at work on the cluster.

    For entry scripts, which pyinfra executes once for each host. ``folder`` is where the lock is on control planes.
    """
    state = host.state
    if any(isinstance(handler, RunLock) for handler in state.callback_handlers):
        return
    what = Path(state.current_deploy_filename or "a deploy").name
    lock = RunLock(topology=topology, holder=run_lock.this_process(what=what), folder=folder)
    state.add_callback_handler(lock)
    # A second Ctrl-C comes before pyinfra has disconnected.
    atexit.register(lock.release)


def check_under_lock(check: Callable[[], None], *, key: str) -> None:
    """STUB"""
