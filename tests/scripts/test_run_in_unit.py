"""The script that runs another one in a unit, with a systemd-run that treats the unit's command as systemd does."""

import os
import subprocess
import sys
from pathlib import Path

from kubeadm_deploys.scripts import text

# Source: replace_env_full in systemd's src/basic/env-util.c: other forms than ${name} are replaced, too, unless they have
# a colon. As on a real machine, a variable that the unit has not set is empty.
_SYSTEMD_RUN = """#!@python
import os, re, sys
words = sys.argv[1:]
command = words[words.index("sh"):]

def expanded(word):
    return re.sub(r"\\$\\$|\\$\\{[^}:]*\\}", lambda match: "$" if match[0] == "$$" else "", word)

os.execvp("sh", [expanded(word) for word in command])
"""


def test_a_script_in_a_unit_is_the_same_script(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    fake = programs / "systemd-run"
    fake.write_text(_SYSTEMD_RUN.replace("@python", sys.executable))
    fake.chmod(0o755)
    inner = (
        'found="a|b $$"; read -r line; echo "${found#*|} ${found%%|*} ${none:-default} $line $1 ${0}"; exit 3'
    )
    done = subprocess.run(
        [
            *("sh", "-c", text("run-in-unit").replace("/run/", f"{tmp_path}/"), "run-in-unit"),
            *("unit", inner, "the-script", "${argument}"),
        ],
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        input="from stdin\n",
        capture_output=True,
        text=True,
    )
    number, *words = done.stderr.replace("b ", "", 1).split()
    assert done.returncode == 3
    assert number.isdigit() and words == ["a", "default", "from", "stdin", "${argument}", "the-script"]
