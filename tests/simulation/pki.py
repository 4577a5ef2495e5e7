"""Certificate authorities and their certificates; each is made once per process, because signing is slow."""

from functools import cache

from tests.support.certificates import Authority

_numbers: dict[str, int] = {}


@cache
def authority(number: int) -> Authority:
    """Return the CA with this number in a history."""
    made = Authority()
    _numbers[made.certificate] = number
    return made


@cache
def certificate(number: int, name: str) -> str:
    """Return the certificate that this CA issued to a name, as PEM."""
    return authority(number).issue(name)


def number_of(pem: str) -> int:
    """Return the number of the CA with this certificate, 0 if none."""
    return _numbers.get(pem, 0)
