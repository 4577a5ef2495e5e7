"""The one way in which a machine is asked: an answer is read as a whole, or it is an error that says why not.

pyinfra's own ``get_fact`` gives a fact's default for a connection that was lost, for a time-out and for a command that
failed. A machine that reboots would then be taken for an empty one. So nothing in this package calls it.

A reading is a fact, which is a script and a parser, with its arguments. Several readings of a machine go in one command,
and what was answered is kept for as long as it can be true: see ``Answers``.
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

from kubeadm_deploys import connections
from kubeadm_deploys.facts.answers import SECONDS, Moment, Reading, TimedFact, answers_of
from kubeadm_deploys.facts.framing import complaints, end_of, framed_command, framed_lines, side_by_side

T = TypeVar("T")

_LONGEST_REASON = 400
"""Characters of a machine's own words that an error repeats."""


class NotRead(DeployError):
    """What a machine was asked is not known.

    ``host`` is pyinfra's name of the machine, ``what`` was asked, ``reason`` says why there is no answer, and
    ``reached`` whether the machine could be reached at all.
    """

    def __init__(self, *, host: str, what: str, reason: str, reached: bool) -> None:
        self.host = host
        self.what = what
        self.reason = reason
        self.reached = reached
        super().__init__(f"{host}: could not read {what}: {reason}")


Asked = Reading[T] | type[FactBase[T]]
"""A fact, with its arguments beside it or together with them."""


def read(host: Host, asked: Asked[T], *, seconds: int = SECONDS, **arguments: Hashable) -> T:
    """What a machine answers: what is known of it in this run, or else what it says when it is asked.

    Raises:
        NotRead: it cannot be reached, did not answer within ``seconds``, its command failed, or the answer is not
            whole.
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
    """The same for a deploy that chooses its operations by the answer, while a run is prepared.

    When what ``counts`` takes from the answer is another once the lock is taken, the run stops before its first change.

    Raises:
        NotRead: like ``read``.
    """
    answer = read(host, reading)
    answers_of(host.state).planned(host, reading, answer, counts=counts)
    return answer


def ask(host: Host, asked: Asked[T], *, seconds: int = SECONDS, **arguments: Hashable) -> T:
    """What a machine says when it is asked now, whatever is known of it.

    Raises:
        NotRead: like ``read``.
    """
    reading = _reading(asked, seconds, arguments)
    answer: T | NotRead = ask_all(host, [reading])[reading]
    if isinstance(answer, NotRead):
        raise answer
    return answer


def wait(host: Host, asked: Asked[T], *, seconds: int, **arguments: Hashable) -> T:
    """The same for a fact that waits: meanwhile others change the cluster, so that what was known of it counts no more.

    Raises:
        NotRead: like ``read``.
    """
    try:
        return ask(host, asked, seconds=seconds, **arguments)
    finally:
        answers_of(host.state).changed(host)


def _reading(asked: Asked[T], seconds: int, arguments: dict[str, Hashable]) -> Reading[T]:
    return asked if isinstance(asked, Reading) else Reading.of(asked, seconds=seconds, **arguments)


def ask_all(host: Host, readings: Sequence[Reading[Any]]) -> dict[Reading[Any], Any]:
    """Ask a machine several things in one command; NotRead stands in the place of what it does not answer."""
    questions = Questions(readings)
    asked = answers_of(host.state).moment(host)
    try:
        succeeded, output = connections.ask(
            host,
            questions.command(),
            seconds=questions.seconds,
            print_output=host.state.print_fact_output,
            print_input=host.state.print_fact_input,
            **_connector_arguments(host),
        )
    except OSError as error:
        return questions.without_answer(host, reason=str(error) or type(error).__name__)
    return questions.answers(host, output, succeeded=succeeded, asked=asked)


def ask_what_is_missing(host: Host, readings: Iterable[Reading[Any]]) -> None:
    """Ask a machine in one command for whatever of these is not known of it.

    What it does not answer about itself, ``read`` does not ask a second time before the first operation. Where answers
    are not kept nothing is asked: whoever wants one would have to ask again.
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
        found = ask_all(host, missing)
        answers.fail(
            host, {reading: answer for reading, answer in found.items() if isinstance(answer, NotRead)}
        )


def ask_again(host: Host) -> None:
    """Ask a machine in one command for all that it has answered in this run."""
    answers = answers_of(host.state)
    answers.forget(host)
    ask_what_is_missing(host, answers.asked(host))


class Questions:
    """Several readings of one machine as one command, and what it answers."""

    def __init__(self, readings: Sequence[Reading[Any]]) -> None:
        self._facts: dict[str, tuple[Reading[Any], FactBase[Any]]] = {}
        for reading in dict.fromkeys(readings):
            name = reading.fact.__name__
            same = sum(each.fact is reading.fact for each, _ in self._facts.values())
            self._facts[f"{name}_{same + 1}" if same else name] = (reading, reading.fact())
        self.seconds = max((reading.seconds for reading in readings), default=0)
        """How long the machine has to answer."""

    def command(self) -> StringCommand:
        """What is sent, and when: some facts look at the clock when their command is made."""
        commands = {
            name: fact.command(**dict(reading.arguments)) for name, (reading, fact) in self._facts.items()
        }
        if len(commands) == 1:
            return framed_command(*next(iter(commands.items())))
        return side_by_side(commands)

    def answers(
        self, host: Host, output: CommandOutput, *, succeeded: bool, asked: Moment
    ) -> dict[Reading[Any], Any]:
        """What a machine printed, as the parsers understand it; NotRead in the place of what it did not answer."""
        found = {
            reading: self._answer(host, name, output, succeeded=succeeded)
            for name, (reading, _) in self._facts.items()
        }
        read = {reading: answer for reading, answer in found.items() if not isinstance(answer, NotRead)}
        answers_of(host.state).store(host, read, asked=asked)
        return found

    def without_answer(self, host: Host, *, reason: str) -> dict[Reading[Any], Any]:
        """NotRead for all of them, because nothing came back."""
        return {
            reading: NotRead(host=host.name, what=reading.words, reason=reason, reached=False)
            for reading, _ in self._facts.values()
        }

    def _answer(self, host: Host, name: str, output: CommandOutput, *, succeeded: bool) -> Any:
        reading, fact = self._facts[name]
        lines = framed_lines(name, output.stdout_lines)
        if len(self._facts) == 1:
            failed, said = not succeeded, output.stderr_lines or output.stdout_lines
        else:
            said = complaints(name, output.stderr_lines)
            failed = bool(said) or not succeeded
            said = said or output.stderr_lines
        if lines is None or failed:
            reason = _reason(said, succeeded=not failed)
        else:
            try:
                if isinstance(fact, TimedFact):
                    fact.ended = end_of(output.stdout_lines)
                return fact.process(lines)
            except (ValueError, TypeError, AttributeError, LookupError) as error:
                reason = f"the answer cannot be understood ({type(error).__name__}: {error})"[
                    :_LONGEST_REASON
                ]
        return NotRead(host=host.name, what=reading.words, reason=reason, reached=True)


def in_parallel(work: Callable[[Host], T], hosts: Iterable[Host]) -> dict[str, T]:
    """Do something on several hosts at once; what it gives by host.

    Raises:
        Exception: the first that it raised on any of them.
    """
    hosts = list(hosts)
    if not hosts:
        return {}
    config = ctx_config.get()
    done: dict[str, T] = {}
    errors: list[Exception] = []

    def each(host: Host) -> None:
        # What a deploy file has set in pyinfra's config, like SUDO, counts for its own greenlet only. An exception is
        # handed on by hand: gevent prints those that end a greenlet.
        with ctx_config.use(config):
            try:
                done[host.name] = work(host)
            except Exception as error:
                errors.append(error)

    Pool(hosts[0].state.pool.size).map(each, hosts)
    if errors:
        raise errors[0]
    return {host.name: done[host.name] for host in hosts}


def _connector_arguments(host: Host) -> dict[str, object]:
    """The host's own sudo and shell settings, those of the operation that asks first."""
    given = dict(host.current_op_global_arguments or {})
    arguments = dict(pop_global_arguments(host.state, host, given)[0])
    chosen = {key: arguments[key] for key in CONNECTOR_ARGUMENT_KEYS if key in arguments}
    return {**chosen, "_stdin": None}


def _reason(said: Iterable[str], *, succeeded: bool) -> str:
    # kubectl says the same of each of several objects, and crictl tells of files that it has looked for.
    lines = dict.fromkeys(line for line in said if "level=warning" not in line)
    words = " ".join(" ".join(lines).split())[-_LONGEST_REASON:]
    if succeeded:
        return f"the answer is not whole{f' ({words})' if words else ''}"
    return words or "the command failed and printed nothing"
