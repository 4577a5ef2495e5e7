"""How an answer is told from what a login shell, sudo or a connection that ended makes of it: it stands between two marks."""

from collections.abc import Iterable, Mapping

from pyinfra.api import StringCommand

from kubeadm_deploys.scripts import text

_CLOCK = "Clock"


def framed_command(name: str, command: str | StringCommand) -> StringCommand:
    """A command whose output stands between two marks, and which ends with its exit status.

    What a login shell or sudo prints stands outside of them, and an answer that was cut off has no second one.
    """
    return StringCommand(
        f"echo; echo '{_begin(name)}'; (",
        command,
        f"); status=$?; echo; echo '{_end(name)}'; exit $status",
        _separator="\n",
    )


def first_and_then(
    name: str, first: StringCommand, *, succeeds_with: str, then: StringCommand | None
) -> StringCommand:
    """A command whose output, with its complaints, is framed, and another that is run only if that ends with a line."""
    return StringCommand(
        StringCommand("first=$({ ", first, "\n} 2>&1 < /dev/null)", _separator=""),
        f"echo; echo '{_begin(name)}'; printf '%s\\n' \"$first\"; echo; echo '{_end(name)}'",
        *((f"case $first in *{succeeds_with}) ;; *) exit 0 ;; esac", then) if then else ()),
        _separator="\n",
    )


def side_by_side(commands: Mapping[str, str | StringCommand]) -> StringCommand:
    """Several commands as one that runs them at the same time, by the names in the marks of what each prints.

    Each has a file of its own in memory for its output. What one complains about that fails goes on after its name and a
    colon, and its second mark is left out. It is no failure of the others.
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
        f"printf '\\n{_begin(_CLOCK)}\\n%s\\n\\n{_end(_CLOCK)}\\n' \"$(date +%s.%N)\"",
        _separator="\n",
    )


def end_of(output: list[str]) -> float | None:
    """When a machine's clock said that ``side_by_side`` had ended there, None when it has not said so."""
    lines = framed_lines(_CLOCK, output)
    return float(lines[0]) if lines else None


def complaints(name: str, errors: Iterable[str]) -> list[str]:
    """What one of several commands complained about, from the errors of ``side_by_side``; nothing when it succeeded."""
    return [line.removeprefix(f"{name}: ") for line in errors if line.startswith(f"{name}: ")]


def framed_lines(name: str, output: list[str]) -> list[str] | None:
    """What stands between the marks of a command; None when the answer is not whole."""
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
