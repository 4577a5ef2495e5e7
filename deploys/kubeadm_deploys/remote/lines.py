"""The line format of the facts' scripts and parsers."""

from collections.abc import Iterable


def parse(output: Iterable[str]) -> dict[str, str]:
    """Parse ``<key> <value>`` lines. A key's last line counts; a value may be empty or contain blanks."""
    pairs = (line.strip().partition(" ") for line in output if line.strip())
    return {key: value.strip() for key, _, value in pairs}


def by_prefix(values: dict[str, str], prefix: str) -> dict[str, str]:
    """Return the values whose key starts with ``prefix``, by the rest of the key."""
    return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}


def files(values: dict[str, str]) -> dict[str, str]:
    """Return by path the sha256 of the files that ``print_files`` (scripts/library/print-files.sh) found."""
    return by_prefix(values, "file:")
