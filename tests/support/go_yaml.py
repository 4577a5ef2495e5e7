"""Read YAML as Kubernetes does, which differs from Python: y is true in Go, and 1e3 and 0o17 are numbers.

Source: resolve.go of sigs.k8s.io/yaml.
"""

import re
from typing import Any

import yaml


class _Reader(yaml.SafeLoader):
    """Python's loader plus Go's rules; what only Go takes for a number becomes a float."""


_BOOLEAN, _NUMBER = "!go/boolean", "!go/number"
_Reader.add_implicit_resolver(_BOOLEAN, re.compile(r"[yYnN]$"), list("yYnN"))
_Reader.add_implicit_resolver(
    _NUMBER,
    re.compile(
        r"[-+]?(0[bB][01_]+|0[oO]?[0-7_]+|0[xX][0-9a-fA-F_]+|(\.[0-9_]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?)$"
    ),
    list("-+.0123456789"),
)
_Reader.add_constructor(_BOOLEAN, lambda reader, node: node.value in "yY")
_Reader.add_constructor(_NUMBER, lambda reader, node: float("nan"))


def read_all(text: str) -> list[Any]:
    """Return every document of a text."""
    return list(yaml.load_all(text, Loader=_Reader))


def read(text: str) -> Any:
    """Return the only document of a text."""
    (document,) = read_all(text)
    return document
