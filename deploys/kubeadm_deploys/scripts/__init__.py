"""The shell scripts that run on machines: one file each, called by its name with arguments.

Every ``NAME.sh`` beside this file is a POSIX shell script. Its first comment describes its arguments and its
standard input. A line ``. library/NAME.sh`` is replaced with that file.
"""

import re
from functools import cache
from importlib import resources

from pyinfra.api.arguments import ConnectorArguments
from pyinfra.api.command import QuoteString, StringCommand

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where scripts find programs: sudo and login shells of normal users leave out some of these folders."""

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")

ENVIRONMENT = f"env {' '.join(f'-u {name}' for name in _PROXIES)} LC_ALL=C.UTF-8 GOGC=400 PATH={PATH}"
"""Prefix of commands that run in the scripts' environment.

Otherwise programs may print translations, and ask the cluster through a proxy of /etc/environment. Downloads get
the proxies of the options.

GOGC lets kubectl, which a run starts 17 times when nothing changes, use more memory before Go collects garbage:
docs/performance.md has what that saves and costs. Daemons do not get it, since systemd starts them.
"""

_LIBRARY = re.compile(r"^\. (library/[a-z-]+)\.sh$", re.MULTILINE)


def script(name: str, *arguments: str, stdin: str | None = None, seconds: int | None = None) -> StringCommand:
    """Return the command that runs ``NAME.sh``, in the same environment on every machine.

    Arguments are quoted, so that they reach the script unchanged. Any user of the machine can see them in the
    list of processes, so secrets go to ``stdin``. ``seconds`` is the time limit of a command that may take
    longer than others.

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
    """Return the text of ``NAME.sh``, with the libraries that it names.

    Raises:
        FileNotFoundError: there is no such script, or no such library.
    """
    found = resources.files(__name__).joinpath(f"{name}.sh").read_text(encoding="utf-8")
    return _LIBRARY.sub(lambda library: text(library[1]), found)
