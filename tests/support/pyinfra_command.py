"""Run pyinfra's command line in processes that are forked from one that has imported it and this package.

A new process would first import for 0.7 s of CPU. The forked ones share nothing with each other.
"""

import atexit
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NoReturn

from tests.support.fake_answers import ROOT

SECONDS = 300


def pyinfra(
    *arguments: str | Path, folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run pyinfra with these arguments in a folder, by default with this process's environment.

    After ``SECONDS`` it is killed, and its exit code is -14, as that of any process that SIGALRM ends.
    """
    words = [str(argument) for argument in arguments]
    server = _server()
    stdin, stdout = server.stdin, server.stdout
    assert stdin and stdout
    with tempfile.TemporaryDirectory() as outputs:
        paths = [f"{outputs}/{name}" for name in ("stdout", "stderr")]
        request = {
            "arguments": words,
            "folder": str(folder),
            "environment": dict(os.environ if environment is None else environment),
            "outputs": paths,
        }
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        code = int(stdout.readline())
        printed, errors = (Path(path).read_text(encoding="utf-8") for path in paths)
    return subprocess.CompletedProcess(words, code, printed, errors)


@cache
def _server() -> subprocess.Popen[str]:
    """Start the process that all others are forked from; it ends with this one."""
    server = subprocess.Popen(
        [sys.executable, "-m", __name__],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'deploys'}:{ROOT}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(server.communicate)
    return server


def _serve() -> None:
    # First, because it patches the standard library for gevent. It has no types.
    import pyinfra_cli.main  # type: ignore[import-untyped]  # noqa: F401, I001
    from gevent import monkey, os as gevent_os

    import kubeadm_deploys  # noqa: F401

    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        pid = gevent_os.fork()
        if pid == 0:
            _run(**json.loads(line))
        _, status = monkey.get_original("os", "waitpid")(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(arguments: list[str], folder: str, environment: dict[str, str], outputs: list[str]) -> NoReturn:
    """Be pyinfra's process: it exits like a Python program."""
    from pyinfra_cli.main import main

    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    for descriptor, path in enumerate(outputs, start=1):
        with open(path, "wb") as file:
            os.dup2(file.fileno(), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["pyinfra", *arguments]
    signal.alarm(SECONDS)
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
