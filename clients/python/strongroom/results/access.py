"""AccessService: who the caller is; tenants, principals and the policies attached to them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the daemon takes the caller for."""

    principal_arn: str
    account: str
    certificate_sha256: str
    administrator: bool
    daemon_version: str
    region: str
    identity: str = ""
    operator: bool = False
    trusted: bool = False
    session_arn: str = ""
    session_source_arn: str = ""
    session_expire_time: datetime | None = None
    via_service: str = ""
    caller_account: str = ""
    source_principal: str = ""
    source_arn: str = ""
    source_account: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """A tenant."""

    account: str
    description: str
    created_time: datetime | None
    root_arn: str
    guard_rails: tuple[str, ...]
    etag: str


@dataclass(frozen=True, slots=True)
class Principal:
    """A user, role or service, or an account's root."""

    arn: str
    account: str
    kind: str
    unique_id: str
    enabled: bool
    trusted: bool
    description: str
    created_time: datetime | None
    tags: Mapping[str, str]
    identity_policies: tuple[str, ...]
    trust_policy: str
    max_session_seconds: int
    etag: str


@dataclass(frozen=True, slots=True)
class AttachedPolicy:
    """An identity policy or guard rail as it was put, and the etag of what it is attached to."""

    policy: str
    etag: str


@dataclass(frozen=True, slots=True)
class PolicyNames:
    """Names of attached policies, and the etag of what they are attached to."""

    names: tuple[str, ...]
    etag: str
