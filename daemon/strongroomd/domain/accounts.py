"""What the store keeps about callers: accounts, principals, and what a principal proves itself by.

An account is the tenant; every principal belongs to one. A principal is bound to identities (facts of a
client certificate, unique over the daemon) and access keys. Protected like all records: see `records`.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

from strongroomd.domain.errors import invalid, too_large
from strongroomd.domain.limits import (
    DEFAULT_ROLE_SECONDS,
    MAX_ROLE_SECONDS,
    MAX_SUBJECT,
    MAX_URI,
    MIN_SESSION_SECONDS,
)
from strongroomd.domain.names import plain_text
from strongroomd.domain.principals import SESSION_NAME, Principal
from strongroomd.domain.protection import Record

Pairs = tuple[tuple[str, str], ...]


class PrincipalKind(StrEnum):
    """What a principal is, as its ARN says."""

    ROOT = "ROOT"
    USER = "USER"
    ROLE = "ROLE"
    SERVICE = "SERVICE"


class PrincipalState(StrEnum):
    """Whether a principal may call at all."""

    ENABLED = "ENABLED"
    DISABLED = "DISABLED"


class IdentityKind(StrEnum):
    """Which fact of a certificate an identity is."""

    URI = "URI"
    DNS = "DNS"
    SUBJECT = "SUBJECT"


@dataclass(frozen=True, slots=True)
class AccountRecord(Record):
    """A tenant.

    Attributes:
        account: 12 digits.
        created_at: milliseconds since the Unix epoch.
        guard_rails: sorted (name, policy JSON): what nobody in the account may exceed.
    """

    KIND: ClassVar[str] = "account"
    account: str
    description: str
    created_at: int
    guard_rails: Pairs
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """The account."""
        return self.account


@dataclass(frozen=True, slots=True)
class PrincipalRecord(Record):
    """A principal.

    Attributes:
        arn: unique over the daemon.
        unique_id: 32 hex digits, of this principal alone: one made later under the same ARN has another.
        trusted: of a service: may say for which service and account it calls.
        created_at: milliseconds since the Unix epoch.
        tags: sorted (key, value) pairs.
        policies: sorted (name, identity policy JSON).
        trust_policy: of a role: who may assume it, JSON; empty for nobody.
        max_session_seconds: of a role: the longest session; 0 for others.
        session_epoch: of a role: sessions of an earlier epoch are void.
    """

    KIND: ClassVar[str] = "principal"
    arn: str
    account: str
    kind: PrincipalKind
    unique_id: str
    state: PrincipalState
    trusted: bool
    description: str
    created_at: int
    tags: Pairs
    policies: Pairs
    trust_policy: str
    max_session_seconds: int
    session_epoch: int
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """The ARN."""
        return self.arn


@dataclass(frozen=True, slots=True)
class IdentityRecord(Record):
    """A fact of certificates that speaks for a principal.

    Attributes:
        value: the URI, the DNS name in lower case, or the subject as RFC 4514 text.
        issuer: SHA-256 (hex) of the issuer's SubjectPublicKeyInfo, for subjects; else empty.
        arn: the principal; account: its account.
        created_at: milliseconds since the Unix epoch.
    """

    KIND: ClassVar[str] = "identity"
    identity_kind: IdentityKind
    value: str
    issuer: str
    arn: str
    account: str
    created_at: int
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """The fact itself, so that it can speak for one principal only."""
        return identity_id(self.identity_kind, self.value, self.issuer)


@dataclass(frozen=True, slots=True)
class AccessKeyRecord(Record):
    """An access key: an id that is public, and a secret that is sealed.

    Attributes:
        access_key_id: 20 characters.
        arn: the principal; account: its account.
        active: whether it works.
        sealed_secret: the secret, sealed by the HSM's means (custody.secrets).
        created_at: milliseconds since the Unix epoch.
    """

    KIND: ClassVar[str] = "access_key"
    access_key_id: str
    arn: str
    account: str
    active: bool
    sealed_secret: bytes
    created_at: int
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """The access key id."""
        return self.access_key_id


def identity_id(kind: IdentityKind, value: str, issuer: str = "") -> str:
    """Spell an identity as its record's id."""
    return f"{kind}:{issuer}:{value}"


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact of certificates as a caller names it, checked."""

    kind: IdentityKind
    value: str
    issuer: str = ""

    @property
    def record_id(self) -> str:
        """The id of its record."""
        return identity_id(self.kind, self.value, self.issuer)


_URI: Final = re.compile(r"[a-z][a-z0-9+.-]{0,31}://[A-Za-z0-9._~:/?#@!$&'()*+,;=%-]{1,2040}", re.ASCII)
_SPIFFE: Final = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)+", re.ASCII)
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DNS: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})+", re.ASCII)
_SPKI: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_POLICY_NAME: Final = re.compile(r"[A-Za-z0-9+=,.@_-]{1,128}", re.ASCII)
_ACCESS_KEY_ID: Final = re.compile(r"AKIA[A-Z2-7]{16}", re.ASCII)
_SESSION: Final = re.compile(SESSION_NAME, re.ASCII)


def uri_fact(uri: str, field: str = "uri") -> Fact:
    """Check a URI; a SPIFFE ID has the one spelling that its specification allows."""
    if len(uri) > MAX_URI:
        raise too_large(field, MAX_URI, "characters")
    form = _SPIFFE if uri.lower().startswith("spiffe:") else _URI
    if not form.fullmatch(uri) or any(part in {".", ".."} for part in uri.split("/")):
        raise invalid(field, "must be a URI such as spiffe://example.org/service")
    return Fact(IdentityKind.URI, uri)


def dns_fact(name: str, field: str = "dns") -> Fact:
    """Check a DNS name: at least two labels in lower case, no wildcard."""
    if len(name) > MAX_URI:
        raise too_large(field, 253, "characters")
    if not _DNS.fullmatch(name):
        raise invalid(field, "must be a DNS name in lower case, without wildcard or trailing dot")
    return Fact(IdentityKind.DNS, name)


def subject_fact(subject: str, issuer: str, field: str = "subject") -> Fact:
    """Check a subject (RFC 4514 text) and the SHA-256 of its issuer's public key."""
    if not subject:
        raise invalid(field, "must not be empty")
    if len(subject) > MAX_SUBJECT:
        raise too_large(field, MAX_SUBJECT, "characters")
    if not _SPKI.fullmatch(issuer):
        raise invalid("issuer_spki_sha256", "must be 64 hexadecimal digits in lower case")
    if "\n" in subject or "\t" in subject:
        raise invalid(field, "must not hold control characters")
    return Fact(IdentityKind.SUBJECT, plain_text(subject, field), issuer)


def kind_of(principal: Principal) -> PrincipalKind:
    """Say what a principal is."""
    return PrincipalKind[principal.arn.split(":")[5].partition("/")[0].upper()]


def policy_name(text: str, field: str = "name") -> str:
    """Check the name of an identity policy or guard rail: at most 128 letters, digits and some signs."""
    if len(text) > 128:
        raise too_large(field, 128, "characters")
    if not _POLICY_NAME.fullmatch(text):
        raise invalid(field, "must be 1 to 128 letters, digits or + = , . @ _ -")
    return text


def access_key_id(text: str, field: str = "access_key_id") -> str:
    """Check the form of an access key id: AKIA and 16 characters of A-Z and 2-7."""
    if not _ACCESS_KEY_ID.fullmatch(text):
        raise invalid(field, "must be AKIA and 16 letters or digits from 2 to 7")
    return text


def session_name(text: str, field: str = "session_name") -> str:
    """Check the name of a role session: 2 to 64 letters, digits and some signs."""
    if not _SESSION.fullmatch(text):
        raise invalid(field, "must be 2 to 64 letters, digits or + = , . @ _ -")
    return text


def session_seconds(asked: int, most: int, field: str = "duration_seconds") -> int:
    """Settle how long a session lasts: 0 means an hour, or the role's maximum if that is less."""
    seconds = asked or min(DEFAULT_ROLE_SECONDS, most)
    if not MIN_SESSION_SECONDS <= seconds <= most:
        raise invalid(field, f"must be from {MIN_SESSION_SECONDS} to the role's maximum")
    return seconds


def role_seconds(asked: int, field: str = "max_session_seconds") -> int:
    """Settle a role's longest session: 0 means an hour; 15 minutes to 12 hours."""
    seconds = asked or DEFAULT_ROLE_SECONDS
    if not MIN_SESSION_SECONDS <= seconds <= MAX_ROLE_SECONDS:
        raise invalid(field, f"must be 0, or from {MIN_SESSION_SECONDS} to {MAX_ROLE_SECONDS}")
    return seconds
