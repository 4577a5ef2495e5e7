"""The one way in which a machine is asked: an answer is read as a whole, or it is an error that says why not.

pyinfra's own ``get_fact`` gives a fact's default for a connection that was lost, for a time-out and for a command that
failed. A machine that reboots would then be taken for an empty one. So nothing in this package calls it.
"""

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

from gevent.pool import Pool
from pyinfra.api import FactBase, StringCommand
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS, pop_global_arguments
from pyinfra.api.exceptions import DeployError
from pyinfra.api.host import Host
from pyinfra.connectors.util import CommandOutput
from pyinfra.context import ctx_config

from kubeadm_deploys import connections

T = TypeVar("T")

SECONDS = 120
"""How long a machine has to answer, unless a reading says otherwise."""

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


def read(host: Host, fact: type[FactBase[T]], *, seconds: int = SECONDS, **arguments: object) -> T:
    """Ask a machine, now.

    Raises:
        NotRead: it cannot be reached, did not answer within ``seconds``, its command failed, or the answer is not
            whole.
    """
    question = fact()
    what = _in_words(fact.__name__)
    try:
        succeeded, output = connections.ask(
            host,
            framed_command(fact.__name__, question.command(**arguments)),
            seconds=seconds,
            print_output=host.state.print_fact_output,
            print_input=host.state.print_fact_input,
            **_connector_arguments(host),
        )
    except OSError as error:
        reason = str(error) or type(error).__name__
        raise NotRead(host=host.name, what=what, reason=reason, reached=False) from None
    lines = framed_lines(fact.__name__, output.stdout_lines)
    if not succeeded or lines is None:
        reason = _reason(output, succeeded=succeeded)
        raise NotRead(host=host.name, what=what, reason=reason, reached=True)
    try:
        return question.process(lines)
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        reason = f"the answer cannot be understood ({type(error).__name__}: {error})"
        raise NotRead(host=host.name, what=what, reason=reason[:_LONGEST_REASON], reached=True) from None


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


def framed_command(name: str, command: str | StringCommand) -> StringCommand:
    """A command whose output stands between two marks, the second one with its exit status.

    What a login shell or sudo prints stands outside of them, and an answer that was cut off has no second one.
    """
    return StringCommand(
        f"echo; echo '{_begin(name)}'; (",
        command,
        f"); status=$?; echo; echo '{_end(name)}'; exit $status",
        _separator="\n",
    )


def framed_lines(name: str, output: list[str]) -> list[str] | None:
    """What stands between the marks of ``framed_command``; None when the answer is not whole."""
    lines = [line.rstrip("\r") for line in output]
    if _begin(name) not in lines or _end(name) not in lines:
        return None
    first = lines.index(_begin(name))
    last = len(lines) - 1 - lines[::-1].index(_end(name))
    if last < first:
        return None
    # The mark begins a line of its own, also after output that ends without a newline.
    found = lines[first + 1 : last]
    return found[:-1] if found and not found[-1] else found


def _begin(name: str) -> str:
    return f"<<< {name}"


def _end(name: str) -> str:
    return f">>> {name}"


def _connector_arguments(host: Host) -> dict[str, object]:
    """The host's own sudo and shell settings, those of the operation that asks first."""
    given = dict(host.current_op_global_arguments or {})
    arguments = dict(pop_global_arguments(host.state, host, given)[0])
    chosen = {key: arguments[key] for key in CONNECTOR_ARGUMENT_KEYS if key in arguments}
    return {**chosen, "_stdin": None}


def _reason(output: CommandOutput, *, succeeded: bool) -> str:
    # kubectl says the same of each of several objects, and crictl tells of files that it has looked for.
    lines = dict.fromkeys(
        line for line in (output.stderr or output.stdout).splitlines() if "level=warning" not in line
    )
    said = " ".join(" ".join(lines).split())[-_LONGEST_REASON:]
    if succeeded:
        return f"the answer is not whole{f' ({said})' if said else ''}"
    return said or "the command failed and printed nothing"


def _in_words(name: str) -> str:
    """The name of a class in words: ClusterMembers, cluster members."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
