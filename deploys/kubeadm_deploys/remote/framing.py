"""Frame an answer by two marks: they separate it from other output, and show that it is complete."""

from collections.abc import Iterable, Mapping

from pyinfra.api import StringCommand

from kubeadm_deploys.scripts import text

_CLOCK = "Clock"


def framed_command(name: str, command: str | StringCommand) -> StringCommand:
    """Return the command with a mark before and after its output, and with the same exit status.

    Output of a login shell or sudo is outside the marks, and an answer that was cut off lacks the second one.
    """
    return StringCommand(
        f"echo; echo '{_begin(name)}'; (",
        command,
        f"); status=$?; echo; echo '{_end(name)}'; exit $status",
        _separator="\n",
        **(command.connector_arguments if isinstance(command, StringCommand) else {}),
    )


def first_and_then(
    name: str, first: StringCommand, *, succeeds_with: str, then: StringCommand | None
) -> StringCommand:
    """Return a command that frames the output of ``first``, and runs ``then`` after ``succeeds_with``."""
    return StringCommand(
        StringCommand("first=$({ ", first, "\n} 2>&1 < /dev/null)", _separator=""),
        f"echo; echo '{_begin(name)}'; printf '%s\\n' \"$first\"; echo; echo '{_end(name)}'",
        *((f"case $first in *{succeeds_with}) ;; *) exit 0 ;; esac", then) if then else ()),
        _separator="\n",
    )


def side_by_side(commands: Mapping[str, str | StringCommand]) -> StringCommand:
    """Return one command that runs several in parallel, with their names in the marks around the output.

    Each command writes to its own file in memory. If one fails, its errors are printed after its name and a
    colon, and its second mark is missing; the others are not affected. None of them gets anything on stdin.
    """
    return StringCommand(
        text("library/side-by-side"),
        *(
            StringCommand(
                "(\n",
                command,
                f'\n) > "$answers/{name}" 2> "$answers/{name}.errors" < /dev/null &\n{name}=$!',
                _separator="",
            )
            for name, command in commands.items()
        ),
        *(f"answer {name} \"${name}\" '{_begin(name)}' '{_end(name)}'" for name in commands),
        # The files' names have no blanks.
        "cat $printed",
        f"printf '\\n{_begin(_CLOCK)}\\n%s\\n\\n{_end(_CLOCK)}\\n' \"$(date +%s.%N)\"",
        _separator="\n",
    )


def end_of(output: list[str]) -> float | None:
    """Return the time of the machine's clock at the end of ``side_by_side``, or None if it is missing."""
    lines = framed_lines(_CLOCK, output)
    return float(lines[0]) if lines else None


def complaints(name: str, errors: Iterable[str]) -> list[str]:
    """Return the errors of one of the commands of ``side_by_side`` if it failed, else nothing."""
    return [line.removeprefix(f"{name}: ") for line in errors if line.startswith(f"{name}: ")]


def framed_lines(name: str, output: list[str]) -> list[str] | None:
    """Return the output between the marks of a command, or None if it is incomplete."""
    lines = [line.rstrip("\r") for line in output]
    if _begin(name) not in lines or _end(name) not in lines:
        return None
    first = lines.index(_begin(name))
    last = len(lines) - 1 - lines[::-1].index(_end(name))
    if last < first:
        return None
    # An empty line before the second mark is not output: it puts the mark on a line of its own.
    framed = lines[first + 1 : last]
    return framed[:-1] if framed and not framed[-1] else framed


def _begin(name: str) -> str:
    return f"<<< {name}"


def _end(name: str) -> str:
    return f">>> {name}"
