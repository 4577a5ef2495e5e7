"""Certificate authorities, and certificates of theirs: each is made once in a process, since signing takes its time."""

from functools import cache

from tests.certificates import Authority

_numbers: dict[str, int] = {}


@cache
def authority(number: int) -> Authority:
    """A cluster's CA, by its number in a history."""
    made = Authority()
    _numbers[made.certificate] = number
    return made


@cache
def certificate(number: int, name: str) -> str:
    """What the authority of this number has issued to a name, in PEM."""
    return authority(number).issue(name)


def number_of(pem: str) -> int:
    """The number of the authority whose certificate this is, 0 if it is none of them."""
    return _numbers.get(pem, 0)
