"""Allow one run at a time on a cluster: take its lock before the first operation, and release it at the end.

pyinfra calls a state's callback handlers: ``operation_start`` for each operation before any host runs it, but
never with ``--dry``, ``--serial`` and ``--no-wait``; ``host_disconnect`` at the end of every run, also after
a failure and Ctrl-C, while hosts are still connected. In between, every command for a host passes through
``RunLock.fenced``.
"""

# pyinfra declares its callbacks as static methods, but calls them on an instance.
# mypy: disable-error-code="override"

import atexit
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import gevent
import pyinfra
from gevent.lock import BoundedSemaphore
from pyinfra import host, inventory, logger
from pyinfra.api.exceptions import DeployError
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, State
from pyinfra.context import ctx_host

from kubeadm_deploys.cluster.leader import active_hosts, ask_planned_leader
from kubeadm_deploys.cluster.members import begin_again, known_members
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.remote import connections, direct
from kubeadm_deploys.remote.answers import answers_of
from kubeadm_deploys.remote.connections import Answer, Command
from kubeadm_deploys.remote.reading import NotRead, Questions, ask_what_is_missing, in_parallel
from kubeadm_deploys.run import lock_messages, run_lock
from kubeadm_deploys.run.run_lock import Vote, Voters, Votes

T = TypeVar("T")

Check = Callable[[], None]


class LockLost(DeployError):
    """This run no longer holds the lock, or cannot be sure that it does."""


class RunLock(BaseStateCallback):
    """The lock that this process holds on the cluster's control planes.

    With ``repairs_quorum``, when no majority can be reached, the lock of all that can be reached is enough.
    """

    def __init__(
        self, *, topology: Topology, holder: run_lock.Holder, folder: str, repairs_quorum: bool = False
    ) -> None:
        self._topology = topology
        self._holder = holder
        self._folder = folder
        self._repairs_quorum = repairs_quorum
        self._checks: dict[str, Check] = {}
        self._voters = Voters(listed=topology.control_planes)
        self._without_majority = False
        self._asked: set[str] = set()
        self._asked_again = False
        self._granting: set[str] = set()
        self._renewed: float | None = None
        self._lost = ""
        self._released = False
        # Keeps a renewal from taking the lock again after its release.
        self._turn = BoundedSemaphore()

    def operation_start(self, state: State, op_hash: str) -> None:
        """Require the lock. Before the first operation, take it and make the checks.

        Raises:
            DeployError: another run has the lock, too few control planes grant it, or a check refuses the
            run.
        """
        if self._renewed is None:
            self._take(state)
            try:
                self._read_again(state)
                for check in list(self._checks.values()):
                    check()
                refuse_changed_plan(state)
                answers_of(state).forget_failures()
            except NotRead as error:
                self.release()
                raise DeployError(f"{error}; no changes were made") from None
            except BaseException:
                # Ctrl-C included: no other run should wait for one that changed nothing.
                self.release()
                raise
        self.require()

    def operation_host_start(self, state: State, host: Host, op_hash: str) -> None:
        """Refuse the operation if pyinfra has not called ``operation_start``.

        Raises:
            DeployError: the lock was never taken.
        """
        if self._renewed is None:
            raise DeployError(f"{host.name}: this run has not taken the cluster's lock; no changes were made")

    def host_disconnect(self, state: State, host: Host) -> None:
        """Release the lock at the end of the run."""
        self.release()

    def release(self) -> None:
        """Release the lock wherever this run may hold it; on machines that cannot be reached it expires."""
        self._released = True
        with self._turn:
            asked, self._asked = self._asked, set()
            command = run_lock.release_command(self._holder, folder=self._folder)

            def release_on(name: str) -> None:
                control_plane = inventory.get_host(name)
                if connections.is_connected(control_plane):
                    with suppress(connections.NoAnswer):
                        direct.attempt(control_plane, command, seconds=run_lock.ANSWER)

            _in_parallel(release_on, sorted(asked))

    def add_check(self, check: Check, *, key: str) -> None:
        """Register a check to be made once the lock is held; see ``check_under_lock``."""
        if key in self._checks:
            return
        self._checks[key] = check
        if self._renewed is not None:
            check()

    def fenced(self, host: Host, command: Command, send: Callable[[Command], Answer]) -> Answer:
        """Send a command to a host, unless another run has, or may have, the lock.

        Raises:
            LockLost: the command was not sent, or the control plane refused to run it.
        """
        if self._renewed is None:
            return send(command)
        if self._released:
            if ctx_host.isset():
                # Another host has ended the run while an operation is still running on this one.
                raise LockLost("this run has ended and released its lock")
            # pyinfra is removing its temporary files.
            return send(command)
        self.require()
        if host.name not in self._granting:
            return send(command)
        done, output = send(run_lock.fenced(command, self._holder, folder=self._folder))
        if not done and (refusal := run_lock.refusal_in(output.output_lines)):
            self._lost = (
                f"{host.name}: {refusal}; this run stops here; run it again when the other run has ended"
            )
            raise LockLost(self._lost)
        return done, output

    def require(self) -> None:
        """Make sure that this run holds the lock, and renew it first if the last renewal is old.

        Raises:
            LockLost: another run has the lock, or may have it.
        """
        if not self._lost and self._is_old():
            # The operator's machine slept, or control planes do not answer.
            self._renew(only_old=True)
        if self._lost:
            raise LockLost(self._lost)

    def _take(self, state: State) -> None:
        self._voters = run_lock.lock_voters(
            self._topology,
            api_leader=ask_planned_leader(state, self._topology),
            members=known_members(state),
        )
        answers_of(state).begin_again()
        begin_again(state)
        began = run_lock.clock()
        votes = self._collect(self._ask_in_turn)
        if held := run_lock.holder_of(votes):
            self.release()
            raise DeployError(lock_messages.refusal(held, now=datetime.now()))
        if self._voters.majority(votes):
            for warning in self._voters.warnings(votes):
                logger.warning(f"--> Warning: {warning}")
        elif self._repairs_quorum and self._voters.all_that_answer(votes):
            self._without_majority = True
            logger.warning(f"--> Warning: {lock_messages.without_majority(self._voters, votes)}")
        else:
            self.release()
            raise DeployError(lock_messages.no_majority(self._voters, votes))
        self._renewed = began
        gevent.spawn(self._keep)

    def _read_again(self, state: State) -> None:
        """Repeat the readings of the prepare phase that were not sent with the request for the lock."""
        if self._asked_again:
            # Until a majority had granted the lock, another run may have changed those that granted it first.
            answers_of(state).begin_again()
        names = dict.fromkeys([*active_hosts(state), *(node.host for node in self._topology.control_planes)])
        hosts = [inventory.get_host(name) for name in names]
        in_parallel(
            lambda machine: ask_what_is_missing(machine, answers_of(state).asked(machine)),
            [host for host in hosts if host in state.active_hosts or connections.is_connected(host)],
        )

    def _keep(self) -> None:
        renewed = True
        while not (self._released or self._lost):
            gevent.sleep(run_lock.RENEWAL if renewed else run_lock.PAUSE)
            renewed = self._renew()

    def _renew(self, *, only_old: bool = False) -> bool:
        """Renew the lock, also on control planes that have none, for example after a reboot."""
        with self._turn:
            if self._released or self._lost or (only_old and not self._is_old()):
                return True
            began = run_lock.clock()
            unrenewed = began - self._renewed if self._renewed is not None else 0
            votes = self._collect(self._ask)
            if held := run_lock.holder_of(votes):
                self._lost = lock_messages.loss(held, now=datetime.now())
            elif unrenewed > run_lock.LEASE:
                # Another run may have taken the lock and released it again.
                self._lost = lock_messages.lapse(round(unrenewed))
            elif self._is_enough(votes):
                self._renewed = began
            elif self._is_old():
                self._lost = lock_messages.expiry(self._voters, votes)
            return self._renewed == began

    def _is_old(self) -> bool:
        return self._renewed is None or run_lock.clock() - self._renewed > run_lock.LEASE - run_lock.MARGIN

    def _is_enough(self, votes: Votes) -> bool:
        return self._voters.majority(votes) or (
            self._without_majority and self._voters.all_that_answer(votes)
        )

    def _collect(self, ask: Callable[[Sequence[str]], Votes]) -> Votes:
        """Ask every control plane that was ever connected, then voters again until enough grant the lock."""
        # Sort by name, which is the same in all inventories of a cluster; those without a vote come last.
        nodes = sorted(
            self._topology.control_planes, key=lambda node: (node not in self._voters.listed, node.name)
        )
        known = [
            node.host
            for node in nodes
            if node.host in self._asked or connections.is_connected(inventory.get_host(node.host))
        ]
        return run_lock.collect(
            self._ask,
            votes=ask(known),
            again=[node.host for node in nodes if node in self._voters.listed],
            settled=lambda votes: (
                self._released or run_lock.holder_of(votes) is not None or self._is_enough(votes)
            ),
            clock=run_lock.clock,
            sleep=gevent.sleep,
        )

    def _ask_in_turn(self, names: Sequence[str]) -> Votes:
        """Ask one control plane after the other until one grants the lock, then the rest in parallel.

        When two runs start at once, the first control plane decides; otherwise each run could block the
        other.
        """
        votes: dict[str, Vote] = {}
        for name in names:
            votes[name] = self._ask_one(name)
            if votes[name].held:
                return votes
            if votes[name].granted:
                break
        return votes | self._ask([name for name in names if name not in votes])

    def _ask(self, names: Sequence[str]) -> dict[str, Vote]:
        return dict(zip(names, _in_parallel(self._ask_one, names), strict=True))

    def _ask_one(self, name: str) -> Vote:
        """Take or renew the lock on a control plane."""
        control_plane = inventory.get_host(name)
        # If it did not answer in time, ask for the lock alone, and read it afterwards with a longer limit.
        reads = self._renewed is None and name not in self._asked
        self._asked_again |= not reads
        self._asked.add(name)
        try:
            vote = self._take_on(control_plane, reads=reads)
            if vote.held and run_lock.has_died(vote.held.holder, controller=self._holder.controller):
                vote = self._take_on(control_plane, reads=reads, dead=vote.held.holder.run)
        except connections.NoAnswer as error:
            return Vote(problem=str(error), reached=False)
        if vote.granted:
            self._granting.add(name)
        return vote

    def _take_on(self, control_plane: Host, *, reads: bool, dead: str = "") -> Vote:
        take = run_lock.take_command(self._holder, dead=dead, folder=self._folder)
        questions = None
        answers = answers_of(control_plane.state)
        if reads and (asked := answers.asked(control_plane)):
            questions = Questions(asked)
        command = run_lock.asked_with(take, questions.command() if questions else None)
        seconds = run_lock.ANSWER + (run_lock.READING if questions else 0)
        moment = answers.moment(control_plane)
        done, output = direct.attempt(control_plane, command, seconds=seconds)
        vote = run_lock.read_vote(output)
        if vote.granted and questions:
            questions.answers(control_plane, output, succeeded=done, asked=moment)
        return vote


def acquire_run_lock(
    *, topology: Topology, folder: str = run_lock.FOLDER, repairs_quorum: bool = False
) -> None:
    """Register the run lock: this run stops before its first operation while another one runs on the cluster.

    Call it from entry scripts, which pyinfra executes once for each host. ``folder`` is the lock's folder on
    control planes. ``repairs_quorum`` is for deploys that repair a cluster which has lost the majority of its
    control planes for good, and with it the majority that grants the lock.

    Raises:
        DeployError: pyinfra was started with an option that bypasses the lock.
    """
    state = host.state
    if any(isinstance(handler, RunLock) for handler in state.callback_handlers):
        return
    refuse_flags()
    what = Path(state.current_deploy_filename or "a deploy").name
    lock = RunLock(
        topology=topology,
        holder=run_lock.this_process(what=what),
        folder=folder,
        repairs_quorum=repairs_quorum,
    )
    state.add_callback_handler(lock)
    connections.guard_connections(state, fence=lock.fenced)
    # The run prints the error when it ends; without this, gevent would also print a traceback for each
    # greenlet.
    hub = gevent.get_hub()
    hub.NOT_ERROR = (*hub.NOT_ERROR, LockLost)
    # After a second Ctrl-C, pyinfra ends without disconnecting.
    atexit.register(lock.release)


def check_under_lock(check: Check, *, key: str) -> None:
    """Make a check once in this run, after the lock is taken and before the first operation.

    What was read before may have changed while another run had the lock, or while the operator was at the
    prompt. Checks run in the order of registration, in pyinfra's main greenlet and with
    ``state.is_executing``. A second check with the same ``key`` is ignored, because pyinfra executes deploy
    files once for each host. A DeployError releases the lock and ends the run. Without a lock
    (``acquire_run_lock``) no check is made.
    """
    for handler in host.state.callback_handlers:
        if isinstance(handler, RunLock):
            handler.add_check(check, key=key)


def refuse_changed_plan(state: State) -> None:
    """Stop the run if a machine has changed since the operations were planned.

    Raises:
        DeployError: names each machine and what has changed on it.
    """
    if unread := answers_of(state).unread():
        raise unread
    if differences := answers_of(state).differences():
        raise DeployError(
            f"machines have changed since this run was prepared ({'; '.join(differences)}); "
            "no changes were made; run it again"
        )


def refuse_flags() -> None:
    """Refuse pyinfra's command line options that let hosts go through the operations separately.

    Raises:
        DeployError: one of these options was given.
    """
    command_line = sys.modules.get("pyinfra_cli.cli")
    if command_line is None or not pyinfra.is_cli:
        return
    # Deploy files run in their own greenlets, where click has no current context.
    given = command_line.cli.make_context("pyinfra", sys.argv[1:], resilient_parsing=True).params
    for flag, name in (("--serial", "serial"), ("--no-wait", "no_wait")):
        if given[name]:
            raise DeployError(
                f"{flag} cannot be used with this deploy: its hosts wait for each other, and it would run "
                "without the cluster's lock; no changes were made; run it again without that option"
            )


def _in_parallel(work: Callable[[str], T], names: Sequence[str]) -> list[T]:
    greenlets = [gevent.spawn(work, name) for name in names]
    gevent.joinall(greenlets)
    return [greenlet.get() for greenlet in greenlets]
