"""What the store keeps of dual control; protected like all records (`records`)."""

from dataclasses import dataclass
from typing import ClassVar

from strongroomd.domain.approvals import Approval, ApprovalState, Enrolled, FrozenRequest, GuardedAction
from strongroomd.domain.protection import Record

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ApproverRecord(Record):
    """An approver's key; never removed, so that none is enrolled a second time.

    Attributes:
        approver_id: 32 hex digits, of the SHA-256 of the public key.
        account: 12 digits.
        principal: ARN of whose it is.
        public_key: DER SubjectPublicKeyInfo, Ed25519 or P-256.
        enrolled_at, revoked_at: milliseconds since the Unix epoch; 0 while it is not revoked.
        enrolled_by, revoked_by: ARNs.
    """

    KIND: ClassVar[str] = "approver"
    approver_id: str
    account: str
    principal: str
    public_key: bytes
    enrolled_at: int
    enrolled_by: str
    revoked_at: int
    revoked_by: str
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """The id."""
        return self.approver_id

    @property
    def enrolled(self) -> Enrolled:
        """The key as counting sees it."""
        revoked = self.revoked_at != 0
        return Enrolled(self.approver_id, self.account, self.principal, self.public_key, revoked)


@dataclass(frozen=True, slots=True)
class ApprovalRequestRecord(Record):
    """A request, frozen when it was made, and what became of it.

    Attributes:
        approval_id, account, action, version, parameters, requester, purpose, quorum, created_at, expires_at,
            nonce: as in `FrozenRequest`.
        key_id, key_arn: the key; empty where it is about none.
        behind: as there, with a space between.
        state: what became of it; one whose time is over is WAITING or APPROVED until upkeep says EXPIRED.
        closed_at: milliseconds since the Unix epoch; 0 while it is open.
        closed_by: ARN of who closed it; note: what they wrote.
        statement: payload of the receipt of what was executed; empty before, and where there is none.
        signature: over it, by the house's statement key; statement_key: that key's id.
    """

    KIND: ClassVar[str] = "approval_request"
    approval_id: str
    account: str
    action: GuardedAction
    key_id: str
    key_arn: str
    version: int
    parameters: Pairs
    requester: str
    behind: str
    purpose: str
    quorum: int
    created_at: int
    expires_at: int
    nonce: str
    state: ApprovalState
    closed_at: int
    closed_by: str
    note: str
    statement: bytes
    signature: bytes
    statement_key: str
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """The id."""
        return self.approval_id

    @property
    def request(self) -> FrozenRequest:
        """What approvers sign."""
        return FrozenRequest(
            self.approval_id,
            self.action,
            self.account,
            self.key_arn,
            self.version,
            self.parameters,
            self.requester,
            tuple(self.behind.split()),
            self.purpose,
            self.quorum,
            self.created_at,
            self.expires_at,
            self.nonce,
        )


@dataclass(frozen=True, slots=True)
class ApprovalRecord(Record):
    """One person's approval of one request.

    Attributes:
        approval_id: the request's id.
        account: the request's.
        key_id: the request's key, or empty.
        principal: ARN of who approved.
        approver_id: whose key signed.
        digest: of the request that was signed, hexadecimal.
        signature: raw for Ed25519, DER for ECDSA.
        approved_at: milliseconds since the Unix epoch.
    """

    KIND: ClassVar[str] = "approval"
    approval_id: str
    account: str
    key_id: str
    principal: str
    approver_id: str
    digest: str
    signature: bytes
    approved_at: int
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """The request and who approved: the same person approves once."""
        return f"{self.approval_id}/{self.principal}"

    @property
    def approval(self) -> Approval:
        """The approval as counting sees it."""
        return Approval(self.digest, self.approver_id, self.principal, self.signature)


@dataclass(frozen=True, slots=True)
class QuorumRecord(Record):
    """How many approvals an account asks for where no key's own quorum counts.

    Attributes:
        account: 12 digits.
        quorum: 1 to 8.
        changed_at: milliseconds since the Unix epoch.
        changed_by: ARN.
    """

    KIND: ClassVar[str] = "quorum"
    account: str
    quorum: int
    changed_at: int
    changed_by: str
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """The account."""
        return self.account
