"""A certificate authority for development and tests, and the one fact about issuers that production needs.

Keys are ECDSA P-256; certificates carry what TLS 1.3 peers check: key usage, extended key usage, subject
alternative names, key identifiers. A real installation brings its own authority (SPIFFE, an internal PKI).
"""

import datetime as dt
import hashlib
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from strongroomd.domain.errors import Reason, StrongroomError

_BACKDATE: Final = dt.timedelta(minutes=5)  # peers' clocks may be a little behind
_SIGNING: Final = {"digital_signature": True}
_ISSUING: Final = {"digital_signature": True, "key_cert_sign": True, "crl_sign": True}
_USAGES: Final = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate (PEM) and its private key (PKCS#8 PEM, unencrypted; never shown)."""

    certificate: bytes
    key: "PrivateBytes"

    def write(self, certificate_file: Path, key_file: Path) -> None:
        """Write both; the key with mode 0600, and neither over an existing file."""
        _write_new(certificate_file, self.certificate, 0o644)
        _write_new(key_file, self.key.reveal(), 0o600)


class PrivateBytes:
    """Bytes without a repr."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """Give the bytes to whoever writes or uses them."""
        return self._value

    def __repr__(self) -> str:
        return "<private>"


class Authority:
    """A development certificate authority, its key in memory only."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self._certificate = certificate

    @classmethod
    def make(cls, name: str = "Strongroom development CA", days: int = 365) -> Self:
        """Make a fresh authority.

        Args:
            name: its common name.
            days: how long its certificate is valid.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        builder = _builder(subject, subject, key.public_key(), days)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_key_usage(_ISSUING), critical=True)
        return cls(key, builder.sign(key, hashes.SHA256()))

    @property
    def certificate(self) -> bytes:
        """The authority's own certificate, PEM: what peers trust."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def server(self, names: list[str], days: int = 90) -> Credential:
        """Issue a server certificate.

        Args:
            names: DNS names and IP addresses that clients connect to; the first is the common name.
            days: how long it is valid.
        """
        return self._issue(
            names[0], [_general_name(name) for name in names], ExtendedKeyUsageOID.SERVER_AUTH, days
        )

    def client(self, common_name: str, uri: str | None = None, days: int = 90) -> Credential:
        """Issue a client certificate.

        Args:
            common_name: for people to read; it gives no rights unless the configuration maps the subject.
            uri: the identity, as a URI subject alternative name, e.g. `spiffe://example.org/service`.
            days: how long it is valid.
        """
        names: list[x509.GeneralName] = [] if uri is None else [x509.UniformResourceIdentifier(uri)]
        return self._issue(common_name, names, ExtendedKeyUsageOID.CLIENT_AUTH, days)

    def _issue(
        self, common_name: str, names: list[x509.GeneralName], purpose: x509.ObjectIdentifier, days: int
    ) -> Credential:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(common_name), self._certificate.subject, key.public_key(), days)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(_SIGNING), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return Credential(certificate.public_bytes(serialization.Encoding.PEM), _private_pem(key))


def issuer_spki_sha256(pem: bytes) -> str:
    """Fingerprint an issuer for an identity of the configuration; it survives renewals of its certificate.

    Args:
        pem: the issuer's certificate.

    Returns:
        SHA-256 of its DER SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7), 64 hexadecimal digits.

    Raises:
        StrongroomError: INVALID_FIELD if this is no PEM certificate.
    """
    try:
        key = x509.load_pem_x509_certificate(pem).public_key()
    except ValueError as error:
        raise StrongroomError(Reason.INVALID_FIELD, "must be a PEM certificate", field="issuer") from error
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(encoding, form)).hexdigest()


def expires_at(pem: bytes) -> float:
    """Tell when the first certificate of a PEM file expires, in Unix seconds.

    Raises:
        StrongroomError: INVALID_FIELD if there is no PEM certificate.
    """
    try:
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()
    except ValueError as error:
        raise StrongroomError(
            Reason.INVALID_FIELD, "must be a PEM certificate", field="certificate"
        ) from error


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - _BACKDATE).not_valid_after(now + dt.timedelta(days=days))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _key_usage(allowed: dict[str, bool]) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: allowed.get(usage, False) for usage in _USAGES})


def _private_pem(key: ec.EllipticCurvePrivateKey) -> PrivateBytes:
    form = serialization.PrivateFormat.PKCS8
    return PrivateBytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))


def _write_new(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        file.write(content)
