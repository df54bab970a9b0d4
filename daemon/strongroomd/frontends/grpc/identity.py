"""Who is calling: the principal behind a client certificate that TLS has verified already.

A certificate speaks for the one principal whose identity is its URI SAN (SPIFFE X509-SVID: exactly one).
One without URI speaks by its DNS SAN, if it has exactly one, or by its exact subject together with the
SHA-256 of its issuer's SubjectPublicKeyInfo. There is no fall-back to the common name. The configuration is
asked first, then the directory. Results are kept per certificate until the directory changes; expiry is
checked at every call, since connections outlive certificates.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from strongroomd.custody.directory import Directory
from strongroomd.domain.accounts import IdentityKind, identity_id
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


@dataclass(frozen=True, slots=True)
class _Card:
    """What a certificate says: identities in the order in which they count."""

    identities: tuple[str, ...]
    fingerprint: str
    not_after: float


class Identities:
    """Finds the principal of a certificate.

    Args:
        rules: the configured identities.
        client_ca_pem: the trusted client CAs, to find a certificate's issuer.
        wall: seconds since the Unix epoch.
        directory: the identities that administrators have added, and who may call at all.
    """

    def __init__(
        self,
        rules: Sequence[IdentityRule],
        client_ca_pem: bytes,
        wall: Callable[[], float],
        directory: Directory | None = None,
    ) -> None:
        self._configured = {_rule_identity(rule): rule.principal for rule in rules}
        self._issuers = x509.load_pem_x509_certificates(client_ca_pem)
        self._wall = wall
        self._directory = directory
        self._cards: dict[bytes, _Card] = {}
        self._known: dict[bytes, Peer] = {}
        self._generation = 0

    def peer(self, pem: bytes) -> Peer:
        """Find the peer that a certificate (PEM) speaks for.

        Raises:
            StrongroomError: UNAUTHENTICATED_PEER, for every cause the same; STORE_UNAVAILABLE while changes
                of
                the directory cannot be known.
        """
        directory = self._directory
        if directory is not None and directory.generation != self._generation:
            self._known.clear()
            self._generation = directory.generation
        peer = self._known.get(pem)
        if peer is None:
            peer = self._known[pem] = self._identify(pem)
        if self._wall() > peer.not_after:
            raise _unknown("the certificate has expired")
        if directory is not None:
            directory.require_fresh()
        return peer

    def _identify(self, pem: bytes) -> Peer:
        card = self._cards.get(pem)
        if card is None:
            card = self._read(pem)
        principal = self._principal(card.identities)
        if len(self._cards) >= _MOST_REMEMBERED:
            self._cards.clear()
            self._known.clear()
        self._cards[pem] = card
        return Peer(principal, card.fingerprint, card.not_after)

    def _read(self, pem: bytes) -> _Card:
        try:
            certificate = x509.load_pem_x509_certificate(pem)
            identities = self._identities(certificate)
        except _UNREADABLE as error:
            raise _unknown(f"the certificate cannot be read: {type(error).__name__}") from None
        der = certificate.public_bytes(Encoding.DER)
        not_after = certificate.not_valid_after_utc.timestamp()
        return _Card(identities, hashlib.sha256(der).hexdigest(), not_after)

    def _identities(self, certificate: x509.Certificate) -> tuple[str, ...]:
        _require_leaf(certificate)
        uris = _names(certificate, x509.UniformResourceIdentifier)
        if len(uris) > 1:
            raise _unknown("the certificate has several URI names")
        if uris:
            return (identity_id(IdentityKind.URI, uris[0]),)
        found = []
        if len(hosts := _names(certificate, x509.DNSName)) == 1:
            found.append(identity_id(IdentityKind.DNS, hosts[0]))
        subject = certificate.subject.rfc4514_string()
        if issuer := self._issuer(certificate):
            found.append(identity_id(IdentityKind.SUBJECT, subject, issuer))
        return tuple(found)

    def _principal(self, identities: tuple[str, ...]) -> Principal:
        rule = next((self._configured[each] for each in identities if each in self._configured), None)
        if self._directory is None:
            return _somebody(rule)
        arn = rule.arn if rule else self._directory.holder(identities)
        if not arn:
            raise _unknown("no identity is known for the certificate")
        return _somebody(self._directory.admit(arn))

    def _issuer(self, certificate: x509.Certificate) -> str:
        for issuer in self._issuers:
            try:
                certificate.verify_directly_issued_by(issuer)
            except (ValueError, TypeError, InvalidSignature):
                continue
            spki = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            return hashlib.sha256(spki).hexdigest()
        return ""


def _rule_identity(rule: IdentityRule) -> str:
    if rule.uri:
        return identity_id(IdentityKind.URI, rule.uri)
    return identity_id(IdentityKind.SUBJECT, rule.subject, rule.issuer_spki_sha256)


def _somebody(principal: Principal | None) -> Principal:
    if principal is None:
        raise _unknown("no identity is known for the certificate, or its principal is disabled")
    return principal


def _names(
    certificate: x509.Certificate, kind: type[x509.UniformResourceIdentifier | x509.DNSName]
) -> list[str]:
    names = _extension(certificate, x509.SubjectAlternativeName)
    return [] if names is None else names.get_values_for_type(kind)


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
