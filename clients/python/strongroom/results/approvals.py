"""ApprovalService: approvers, what was asked under dual control, and how it stands."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Approver:
    """An approver's enrolled key; `public_key` is DER SubjectPublicKeyInfo."""

    approver_id: str
    account: str
    principal: str
    public_key: bytes
    enrolled_time: datetime | None
    enrolled_by: str
    revoked_time: datetime | None
    revoked_by: str


@dataclass(frozen=True, slots=True)
class Quorum:
    """How many must approve in an account where no key's own quorum counts."""

    account: str
    quorum: int


@dataclass(frozen=True, slots=True)
class Approval:
    """One person's approval; `counts` unless the key was revoked or its owner may not call any more."""

    principal: str
    approver_id: str
    signature: bytes = field(repr=False)
    approved_time: datetime | None
    counts: bool


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the house says it did: canonical JSON, signed by ECDSA P-256 with SHA-256 (DER)."""

    payload: bytes
    signature: bytes
    key_id: str


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """What was asked under dual control, and how it stands.

    Attributes:
        approved: how many approvals count; missing: how many are needed still.
        request_file: the text that approvers read and sign; empty in lists, as are the parameters.
        receipt: of what was executed.
    """

    approval_id: str
    action: str
    account: str
    key: str
    key_version: int
    parameters: Mapping[str, str]
    requester: str
    behind: tuple[str, ...]
    purpose: str
    quorum: int
    approved: int
    missing: int
    approvals: tuple[Approval, ...]
    state: str
    created_time: datetime | None
    expiry_time: datetime | None
    closed_time: datetime | None
    closed_by: str
    note: str
    request_file: bytes = field(repr=False)
    digest: str
    receipt: Receipt | None
