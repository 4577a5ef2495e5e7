"""A certificate authority for tests."""

import datetime
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """A cluster's CA, with its certificate as PEM."""

    def __init__(self, name: str = "kubernetes") -> None:
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._signed(name, self._key.public_key(), ca=True)

    def issue(self, name: str) -> str:
        """Return a certificate issued by this CA, as PEM."""
        return self._signed(name, ec.generate_private_key(ec.SECP256R1()).public_key())

    def issue_for_server(self, names: Iterable[str]) -> str:
        """Return a certificate for the DNS names of a server with its private key, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return self._signed("server", key.public_key(), names=names) + private.decode()

    def _signed(
        self, name: str, key: ec.EllipticCurvePublicKey, *, ca: bool = False, names: Iterable[str] = ()
    ) -> str:
        subject, issuer = (
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
            for common_name in (name, self._name)
        )
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if dns_names := [x509.DNSName(each) for each in names]:
            builder = builder.add_extension(x509.SubjectAlternativeName(dns_names), critical=False)
        signed = builder.sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM).decode()


def self_signed() -> str:
    """Return a new self-signed certificate, as PEM."""
    return Authority().certificate
