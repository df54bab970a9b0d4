"""AccessService: what callers show: certificates' identities, access keys, role sessions."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class CertificateIdentity:
    """A fact of certificates that speaks for a principal: one of uri, dns, and subject with its issuer."""

    principal: str
    uri: str
    dns: str
    subject: str
    issuer_spki_sha256: str
    created_time: datetime | None


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An access key without its secret."""

    access_key_id: str
    principal: str
    active: bool
    created_time: datetime | None
    last_used_time: datetime | None
    etag: str


@dataclass(frozen=True, slots=True)
class NewAccessKey:
    """A new access key and its secret, which is not shown again; empty where the answer is a repeated one."""

    access_key: AccessKey
    secret_access_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RoleSession:
    """A role session; its token works with the certificate that it was given to."""

    session_token: str = field(repr=False)
    expire_time: datetime | None
    session_arn: str
    role_arn: str
