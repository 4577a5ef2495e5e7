"""The shell scripts that run on machines: one file each, called by its name with arguments.

Every ``NAME.sh`` beside this file is a POSIX shell script. Its first comment says what its arguments and its standard
input are. A line ``. library/NAME.sh`` in one stands for the functions of that file.
"""

import re
from functools import cache
from importlib import resources

from pyinfra.api.arguments import ConnectorArguments
from pyinfra.api.command import QuoteString, StringCommand

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where scripts find programs: sudo and login shells of plain users leave out some of it."""

ENVIRONMENT = f"env LC_ALL=C.UTF-8 PATH={PATH}"
"""How a command begins that runs in the same environment as the scripts: programs have translations of their words."""

_LIBRARY = re.compile(r"^\. (library/[a-z-]+)\.sh$", re.MULTILINE)


def script(name: str, *arguments: str, stdin: str | None = None, seconds: int | None = None) -> StringCommand:
    """The command that runs ``NAME.sh``, in the same environment on every machine.

    Arguments are quoted, so that they reach the script as they are. Any user of the machine can see them in its list of
    processes: secrets go to ``stdin``. ``seconds`` is the command's time limit, where it may take longer than others.

    Raises:
        FileNotFoundError: there is no such script.
    """
    connector: ConnectorArguments = {}
    if stdin is not None:
        connector["_stdin"] = stdin
    if seconds is not None:
        connector["_timeout"] = seconds
    words = map(QuoteString, arguments)
    return StringCommand(ENVIRONMENT, "sh", "-c", QuoteString(text(name)), name, *words, **connector)


@cache
def text(name: str) -> str:
    """What ``NAME.sh`` says, with the functions of the libraries that it names.

    Raises:
        FileNotFoundError: there is no such script, or no such library.
    """
    found = resources.files(__name__).joinpath(f"{name}.sh").read_text(encoding="utf-8")
    return _LIBRARY.sub(lambda library: text(library[1]), found)
