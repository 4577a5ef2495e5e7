"""The killer of runs: each run dies at another change, and what is known or only reads does not count."""

import json
import signal
import subprocess
import sys
from pathlib import Path

_DEPLOY = """
from pyinfra.api import operation

from kubeadm_deploys.operations.text_files import write_command
from kubeadm_deploys.scripts import script

@operation()
def write(*names):
    yield script("read-swap")
    for name in names:
        yield write_command({name: b"content"})

write(*%r, name="Write files")
"""


def test_each_run_is_killed_one_change_later_until_one_ends(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("first", "second", "third")]
    deploy, record = tmp_path / "deploy.py", tmp_path / "record"
    deploy.write_text(_DEPLOY % [str(file) for file in files])

    def run(nth: str) -> int:
        program = (sys.executable, "-m", "tests.chaos.command_killer", str(record), nth)
        return subprocess.run([*program, "-y", "@local", str(deploy)], capture_output=True).returncode

    assert (run("1"), [file.exists() for file in files]) == (-signal.SIGKILL, [True, False, False])
    # The first command is repeated and known.
    assert (run("2"), [file.exists() for file in files]) == (-signal.SIGKILL, [True, True, True])
    assert run("1") == -signal.SIGKILL
    assert run("1") == 0
    moments = [json.loads(line) for line in record.read_text().splitlines()]
    assert [moment["arguments"] for moment in moments] == [[str(files[index])] for index in (0, 2, 1)]
    assert {(moment["operation"], moment["command"]) for moment in moments} == {
        ("Write files", "write-files")
    }
