"""The options in Python blocks of docs/configuration.md, so that tests use what the page shows."""

import json
import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs/configuration.md"


def options_with(text: str) -> dict[str, Any]:
    """Return the options of the only Python block of the page that contains a text."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    (block,) = [block for block in blocks if text in block]
    options: dict[str, Any] = {}
    exec(compile(block, str(PAGE), "exec"), {}, options)
    return options


def as_arguments(options: dict[str, Any]) -> tuple[str, ...]:
    """Return options as pyinfra's arguments."""
    return tuple(f"--data={name}={json.dumps(value)}" for name, value in options.items())
