"""Running a build tool: quiet when it works, its own words when it fails."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.lab.docker import LabError


def run(*command: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run `command` and return its standard output; `env` is added to this process's environment."""
    try:
        done = subprocess.run(
            command, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise LabError(f"{command[0]} is not installed") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        reason = "\n".join([line for line in said if not line.startswith("go: downloading ")][-20:])
        raise LabError(f"`{' '.join(command[:2])}` failed with exit code {done.returncode}: {reason}")
    return done.stdout
