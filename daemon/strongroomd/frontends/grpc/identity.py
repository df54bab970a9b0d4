"""Who is calling: the principal behind a client certificate that TLS has verified already.

A certificate speaks for the one principal whose entry names its URI SAN (SPIFFE X509-SVID: exactly one), or
its exact subject together with the SHA-256 of its issuer's SubjectPublicKeyInfo. There is no fall-back to the
common name. Results are kept per certificate; expiry is checked at every call, since connections outlive
certificates.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.principals import Principal

_MOST_REMEMBERED = 10_000
_UNREADABLE = (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, x509.InvalidVersion)
X = TypeVar("X", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class IdentityRule:
    """One configured identity: either `uri`, or `subject` (RFC 4514) with `issuer_spki_sha256` (hex)."""

    principal: Principal
    uri: str = ""
    subject: str = ""
    issuer_spki_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Peer:
    """A known peer.

    Attributes:
        fingerprint: SHA-256 of the certificate's DER, hex.
        not_after: seconds since the Unix epoch after which the certificate is void.
    """

    principal: Principal
    fingerprint: str
    not_after: float


class Identities:
    """Finds the principal of a certificate.

    Args:
        rules: the configured identities.
        client_ca_pem: the trusted client CAs, to find a certificate's issuer.
        wall: seconds since the Unix epoch.
    """

    def __init__(
        self, rules: Sequence[IdentityRule], client_ca_pem: bytes, wall: Callable[[], float]
    ) -> None:
        self._by_uri = {rule.uri: rule.principal for rule in rules if rule.uri}
        self._by_subject = {
            (rule.subject, rule.issuer_spki_sha256): rule.principal for rule in rules if rule.subject
        }
        self._issuers = x509.load_pem_x509_certificates(client_ca_pem)
        self._wall = wall
        self._known: dict[bytes, Peer] = {}

    def peer(self, pem: bytes) -> Peer:
        """Find the peer that a certificate (PEM) speaks for.

        Raises:
            StrongroomError: UNAUTHENTICATED_PEER, for every cause the same.
        """
        peer = self._known.get(pem)
        if peer is None:
            peer = self._identify(pem)
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[pem] = peer
        if self._wall() > peer.not_after:
            raise _unknown("the certificate has expired")
        return peer

    def _identify(self, pem: bytes) -> Peer:
        try:
            certificate = x509.load_pem_x509_certificate(pem)
            principal = self._principal(certificate)
        except _UNREADABLE as error:
            raise _unknown(f"the certificate cannot be read: {type(error).__name__}") from None
        der = certificate.public_bytes(Encoding.DER)
        return Peer(principal, hashlib.sha256(der).hexdigest(), certificate.not_valid_after_utc.timestamp())

    def _principal(self, certificate: x509.Certificate) -> Principal:
        _require_leaf(certificate)
        uris = _uris(certificate)
        if len(uris) > 1:
            raise _unknown("the certificate has several URI names")
        if uris:
            principal = self._by_uri.get(uris[0])
        else:
            principal = self._by_subject.get(
                (certificate.subject.rfc4514_string(), self._issuer(certificate))
            )
        if principal is None:
            raise _unknown("no identity is configured for the certificate")
        return principal

    def _issuer(self, certificate: x509.Certificate) -> str:
        for issuer in self._issuers:
            try:
                certificate.verify_directly_issued_by(issuer)
            except (ValueError, TypeError, InvalidSignature):
                continue
            spki = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            return hashlib.sha256(spki).hexdigest()
        return ""


def _uris(certificate: x509.Certificate) -> list[str]:
    names = _extension(certificate, x509.SubjectAlternativeName)
    return [] if names is None else names.get_values_for_type(x509.UniformResourceIdentifier)


def _require_leaf(certificate: x509.Certificate) -> None:
    """Refuse a certificate that may sign others (SPIFFE X509-SVID, sections 4.1 and 4.3)."""
    basic = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    if basic is not None and basic.ca:
        raise _unknown("the certificate is a certificate authority's")
    if usage is not None and (usage.key_cert_sign or usage.crl_sign or not usage.digital_signature):
        raise _unknown("the certificate's key usage is not that of a client")


def _extension(certificate: x509.Certificate, kind: type[X]) -> X | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _unknown(detail: str) -> StrongroomError:
    return StrongroomError(Reason.UNAUTHENTICATED_PEER, detail=detail)
