"""Read machines: the result is a complete answer, or an error that says why there is none.

pyinfra's own ``get_fact`` returns a fact's default after a lost connection, a time-out or a failed command,
so a machine that reboots would look like an empty one. Nothing in this package calls it.

A reading is a fact, which is a script and a parser, with its arguments. Several readings of a machine go into
one command, and answers are kept while they are valid: see ``Answers``.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeVar

from gevent.pool import Pool
from pyinfra.api import FactBase, StringCommand
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS, pop_global_arguments
from pyinfra.api.exceptions import DeployError
from pyinfra.api.host import Host
from pyinfra.connectors.util import CommandOutput
from pyinfra.context import ctx_config

from kubeadm_deploys.remote import connections
from kubeadm_deploys.remote.answers import SECONDS, Moment, Reading, TimedFact, answers_of
from kubeadm_deploys.remote.framing import complaints, end_of, framed_command, framed_lines, side_by_side
from kubeadm_deploys.remote.progress import reported

T = TypeVar("T")

_LONGEST_REASON = 400
"""Characters of a machine's output that an error repeats."""


class NotRead(DeployError):
    """A reading failed: its answer is unknown.

    ``host`` is pyinfra's name of the machine, ``what`` the reading, ``reason`` why there is no answer, and
    ``reached`` whether the machine could be reached at all.
    """

    def __init__(self, *, host: str, what: str, reason: str, reached: bool) -> None:
        self.host = host
        self.what = what
        self.reason = reason
        self.reached = reached
        super().__init__(f"{host}: could not read {what}: {reason}")


Asked = Reading[T] | type[FactBase[T]]
"""A reading, or a fact whose arguments are passed separately."""


def read(host: Host, asked: Asked[T], *, seconds: int = SECONDS, **arguments: Hashable) -> T:
    """Return a machine's answer: the known one of this run, or else a new one.

    Raises:
        NotRead: it cannot be reached, did not answer within ``seconds``, its command failed, or the answer is
            incomplete.
    """
    reading = _reading(asked, seconds, arguments)
    answers = answers_of(host.state)
    if failure := answers.failure(host, reading):
        raise failure
    known = answers.known(host, reading)
    return known if known is not None else ask(host, reading)


def read_for_plan(
    host: Host, reading: Reading[T], *, counts: Callable[[T], object] = lambda answer: answer
) -> T:
    """Return a machine's answer to a deploy that plans its operations from it in the prepare phase.

    If the part of the answer that ``counts`` returns has changed when the lock is taken, the run stops before
    its first change.

    Raises:
        NotRead: like ``read``.
    """
    answer = read(host, reading)
    answers_of(host.state).planned(host, reading, answer, counts=counts)
    return answer


def ask(host: Host, asked: Asked[T], *, seconds: int = SECONDS, **arguments: Hashable) -> T:
    """Return a new answer of a machine, even if one is known.

    Raises:
        NotRead: like ``read``.
    """
    reading = _reading(asked, seconds, arguments)
    answer: T | NotRead = ask_all(host, [reading])[reading]
    if isinstance(answer, NotRead):
        raise answer
    return answer


def wait(host: Host, asked: Asked[T], *, what: str, seconds: int, **arguments: Hashable) -> T:
    """Return the answer to a fact that waits, and forget what was known: the cluster changes during the wait.

    ``what`` is what a long wait reports, like ``waiting for cloud-init``.

    Raises:
        NotRead: like ``read``.
    """
    try:
        with reported(host, what):
            return ask(host, asked, seconds=seconds, **arguments)
    finally:
        answers_of(host.state).changed(host)


def _reading(asked: Asked[T], seconds: int, arguments: dict[str, Hashable]) -> Reading[T]:
    return asked if isinstance(asked, Reading) else Reading.of(asked, seconds=seconds, **arguments)


def ask_all(host: Host, readings: Sequence[Reading[Any]]) -> dict[Reading[Any], Any]:
    """Return a machine's answers to several readings in one command, NotRead where it gave none."""
    questions = Questions(readings)
    asked = answers_of(host.state).moment(host)
    command = questions.command()
    try:
        succeeded, output = connections.ask(
            host,
            command,
            seconds=questions.seconds,
            print_output=host.state.print_fact_output,
            print_input=host.state.print_fact_input,
            **_connector_arguments(host) | command.connector_arguments,
        )
    except OSError as error:
        return questions.without_answer(host, reason=str(error) or type(error).__name__)
    return questions.answers(host, output, succeeded=succeeded, asked=asked)


def ask_what_is_missing(host: Host, readings: Iterable[Reading[Any]]) -> None:
    """Ask a machine in one command for all of these readings whose answers are not known.

    If a reading about the machine itself fails, ``read`` does not repeat it before the first operation. If
    answers are not kept, do nothing.
    """
    answers = answers_of(host.state)
    if not answers.kept:
        return
    missing = [
        reading
        for reading in dict.fromkeys(readings)
        if answers.known(host, reading) is None and not answers.failure(host, reading)
    ]
    if missing:
        new_answers = ask_all(host, missing)
        answers.fail(
            host, {reading: answer for reading, answer in new_answers.items() if isinstance(answer, NotRead)}
        )


def ask_again(host: Host) -> None:
    """Repeat in one command all readings that a machine has answered in this run."""
    answers = answers_of(host.state)
    answers.forget(host)
    ask_what_is_missing(host, answers.asked(host))


class Questions:
    """Several readings of one machine in one command, and the parsing of its answers."""

    def __init__(self, readings: Sequence[Reading[Any]]) -> None:
        self._facts: dict[str, tuple[Reading[Any], FactBase[Any]]] = {}
        for reading in dict.fromkeys(readings):
            name = reading.fact.__name__
            count = sum(other.fact is reading.fact for other, _ in self._facts.values())
            self._facts[f"{name}_{count + 1}" if count else name] = (reading, reading.fact())
        self.seconds = max((reading.seconds for reading in readings), default=0)
        """Seconds that the machine has to answer."""

    def command(self) -> StringCommand:
        """Return the command. Call this just before sending it: some facts read the clock here."""
        commands = {
            name: fact.command(**dict(reading.arguments)) for name, (reading, fact) in self._facts.items()
        }
        if len(commands) == 1:
            return framed_command(*next(iter(commands.items())))
        return side_by_side(commands)

    def answers(
        self, host: Host, output: CommandOutput, *, succeeded: bool, asked: Moment
    ) -> dict[Reading[Any], Any]:
        """Return the parsed answers, NotRead for those without an answer, and keep them for this run."""
        answers = {
            reading: self._answer(host, name, output, succeeded=succeeded)
            for name, (reading, _) in self._facts.items()
        }
        known = {reading: answer for reading, answer in answers.items() if not isinstance(answer, NotRead)}
        answers_of(host.state).store(host, known, asked=asked)
        return answers

    def without_answer(self, host: Host, *, reason: str) -> dict[Reading[Any], Any]:
        """Return NotRead for all readings, because the machine did not answer."""
        return {
            reading: NotRead(host=host.name, what=reading.words, reason=reason, reached=False)
            for reading, _ in self._facts.values()
        }

    def _answer(self, host: Host, name: str, output: CommandOutput, *, succeeded: bool) -> Any:
        reading, fact = self._facts[name]
        lines = framed_lines(name, output.stdout_lines)
        if len(self._facts) == 1:
            failed, errors = not succeeded, output.stderr_lines or output.stdout_lines
        else:
            errors = complaints(name, output.stderr_lines)
            failed = bool(errors) or not succeeded
            errors = errors or output.stderr_lines
        if lines is None or failed:
            reason = _reason(errors, succeeded=not failed)
        else:
            try:
                if isinstance(fact, TimedFact):
                    fact.ended = end_of(output.stdout_lines)
                return fact.process(lines)
            except (ValueError, TypeError, AttributeError, LookupError) as error:
                reason = f"the answer cannot be parsed ({type(error).__name__}: {error})"[:_LONGEST_REASON]
        return NotRead(host=host.name, what=reading.words, reason=reason, reached=True)


def in_parallel(work: Callable[[Host], T], hosts: Iterable[Host]) -> dict[str, T]:
    """Call ``work`` for several hosts in parallel, and return its results by host.

    Raises:
        Exception: the first exception that ``work`` raised.
    """
    hosts = list(hosts)
    if not hosts:
        return {}
    config = ctx_config.get()
    done: dict[str, T] = {}
    errors: list[Exception] = []

    def work_on(host: Host) -> None:
        # What a deploy file sets in pyinfra's config, like SUDO, only applies to its own greenlet. Exceptions
        # are collected because gevent prints those that end a greenlet.
        with ctx_config.use(config):
            try:
                done[host.name] = work(host)
            except Exception as error:
                errors.append(error)

    Pool(hosts[0].state.pool.size).map(work_on, hosts)
    if errors:
        raise errors[0]
    return {host.name: done[host.name] for host in hosts}


def _connector_arguments(host: Host) -> dict[str, object]:
    """Return the host's sudo and shell settings; those of the current operation take precedence."""
    given = dict(host.current_op_global_arguments or {})
    arguments = dict(pop_global_arguments(host.state, host, given)[0])
    chosen = {key: arguments[key] for key in CONNECTOR_ARGUMENT_KEYS if key in arguments}
    return {**chosen, "_stdin": None}


def _reason(errors: Iterable[str], *, succeeded: bool) -> str:
    # kubectl repeats an error for each object, and crictl warns about files that it did not find.
    lines = dict.fromkeys(line for line in errors if "level=warning" not in line)
    words = " ".join(" ".join(lines).split())[-_LONGEST_REASON:]
    if succeeded:
        return f"the answer is incomplete{f' ({words})' if words else ''}"
    return words or "the command failed and printed nothing"
