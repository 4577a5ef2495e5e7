"""The line format that the facts' scripts print and their parsers read."""

from collections.abc import Iterable


def parse(output: Iterable[str]) -> dict[str, str]:
    """Read ``<key> <value>`` lines; a key's last line counts, a value may be empty or hold blanks."""
    pairs = (line.strip().partition(" ") for line in output if line.strip())
    return {key: value.strip() for key, _, value in pairs}


def by_prefix(values: dict[str, str], prefix: str) -> dict[str, str]:
    """The lines whose key begins with ``prefix``, without it."""
    return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}


def files(values: dict[str, str]) -> dict[str, str]:
    """The sha256 of every file that ``print_files`` (scripts/library/print-files.sh) found, by path."""
    return by_prefix(values, "file:")
