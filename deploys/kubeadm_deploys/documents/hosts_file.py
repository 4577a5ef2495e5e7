"""Read and edit the text of a hosts file: names without case, other lines and all line ends as they are.

Source: hosts(5); names of hosts are case-insensitive (RFC 4343).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A line: its ``text`` with the line end, and the address, names, comment and line end in it."""

    text: str
    address: str
    names: tuple[str, ...]
    comment: str
    end: str

    def has(self, name: str) -> bool:
        return name.lower() in map(str.lower, self.names)

    def without(self, name: str) -> str:
        """The line without this name, empty if nothing but the name and its address is on it."""
        others = [other for other in self.names if other.lower() != name.lower()]
        words = [self.address, *others] if others else []
        return (
            f"{' '.join([*words, *([self.comment] if self.comment else [])])}{self.end}"
            if words or self.comment
            else ""
        )


def with_name(text: str, *, name: str, address: str) -> str:
    """Return the hosts file with ``name`` at this address only, and everything else unchanged.

    If that is already so, the text is returned unchanged.
    """
    end = "\r\n" if "\r\n" in text else "\n"
    wanted, placed = f"{address} {name}{end}", False
    result: list[str] = []
    for line in _lines(text):
        if not line.has(name):
            result.append(line.text)
        elif not placed and line.address == address and len(line.names) == 1:
            placed = True
            result.append(line.text)
        else:
            if not placed and not _has_own_line(text, name=name, address=address):
                placed = True
                result.append(wanted)
            result.append(line.without(name))
    if not placed:
        if result and not result[-1].endswith("\n"):
            result.append(end)
        result.append(wanted)
    return "".join(result)


def address_of(text: str, *, name: str) -> str:
    """Return the address of ``name`` in the hosts file, empty if it has none. The first match counts."""
    return next((line.address for line in _lines(text) if line.has(name)), "")


def without_name(text: str, *, name: str) -> str:
    """Return the hosts file without ``name`` and without lines that had only this name."""
    return "".join(line.without(name) if line.has(name) else line.text for line in _lines(text))


def _has_own_line(text: str, *, name: str, address: str) -> bool:
    return any(line.has(name) and line.address == address and len(line.names) == 1 for line in _lines(text))


def _lines(text: str) -> Iterator[_Line]:
    # Not str.splitlines, which also splits at characters that a hosts file may have inside of a line.
    for row in re.findall(r"[^\n]*\n|[^\n]+$", text):
        bare = row.rstrip("\r\n")
        body, sign, comment = bare.partition("#")
        address, *names = body.split() or [""]
        yield _Line(
            text=row, address=address, names=tuple(names), comment=sign + comment, end=row[len(bare) :]
        )
