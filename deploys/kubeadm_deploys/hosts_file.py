"""The text of a hosts file."""


def with_name(text: str, *, name: str, address: str) -> str:
    """The hosts file in which ``name`` has this address and no other; everything else stays as it is.

    The text itself comes back when it says so already. Source: hosts(5).
    """
    wanted = f"{address} {name}"
    result: list[str] = []
    for line in text.splitlines():
        found, *names = line.partition("#")[0].split() or [""]
        if name not in names:
            result.append(line)
            continue
        if wanted not in result:
            result.append(wanted)
        if others := [each for each in names if each != name]:
            result.append(" ".join([found, *others]))
    if wanted not in result:
        result.append(wanted)
    return "".join(f"{line}\n" for line in result)


def address_of(text: str, *, name: str) -> str:
    """The address that the hosts file has for ``name``, empty without one. The first line counts."""
    for line in text.splitlines():
        found, *names = line.partition("#")[0].split() or [""]
        if name in names:
            return found
    return ""


def without_name(text: str, *, name: str) -> str:
    """The hosts file without ``name``, and without lines that had no other; everything else stays as it is."""
    result: list[str] = []
    for line in text.splitlines(keepends=True):
        found, *names = line.partition("#")[0].split() or [""]
        if name not in names:
            result.append(line)
        elif others := [each for each in names if each != name]:
            result.append(" ".join([found, *others]) + "\n")
    return "".join(result)
