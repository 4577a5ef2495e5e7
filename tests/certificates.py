"""A certificate authority for tests."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """A CA of a cluster, with its certificate as PEM."""

    def __init__(self, name: str = "kubernetes") -> None:
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._signed(name, self._key.public_key())

    def issue(self, name: str) -> str:
        """A certificate of this CA, as PEM."""
        return self._signed(name, ec.generate_private_key(ec.SECP256R1()).public_key())

    def _signed(self, name: str, key: ec.EllipticCurvePublicKey) -> str:
        subject, issuer = (
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, self._name)
        )
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + datetime.timedelta(days=1))
            .sign(self._key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
            .decode()
        )


def self_signed() -> str:
    """A new self-signed certificate, as PEM."""
    return Authority().certificate
