"""ApprovalService: approvers' keys, and requests that wait for approvals."""

from datetime import datetime
from typing import Final, Protocol

from strongroom import _enums as enums
from strongroom import results
from strongroom._rpc import Call, Rpc
from strongroom.calls import _read
from strongroom.v1 import approvals_pb2 as pb

_SERVICE: Final = "ApprovalService"
_ENROL: Final = Rpc(_SERVICE, "EnrolApprover", pb.EnrolApproverRequest, pb.EnrolApproverResponse)
_REVOKE: Final = Rpc(_SERVICE, "RevokeApprover", pb.RevokeApproverRequest, pb.RevokeApproverResponse)
_APPROVERS: Final = Rpc(_SERVICE, "ListApprovers", pb.ListApproversRequest, pb.ListApproversResponse)
_GET_QUORUM: Final = Rpc(_SERVICE, "GetQuorum", pb.GetQuorumRequest, pb.GetQuorumResponse)
_PUT_QUORUM: Final = Rpc(_SERVICE, "PutQuorum", pb.PutQuorumRequest, pb.PutQuorumResponse)
_ASK: Final = Rpc(_SERVICE, "AskApproval", pb.AskApprovalRequest, pb.AskApprovalResponse)
_DESCRIBE: Final = Rpc(_SERVICE, "DescribeApproval", pb.DescribeApprovalRequest, pb.DescribeApprovalResponse)
_LIST: Final = Rpc(_SERVICE, "ListApprovals", pb.ListApprovalsRequest, pb.ListApprovalsResponse)
_APPROVE: Final = Rpc(_SERVICE, "ApproveRequest", pb.ApproveRequestRequest, pb.ApproveRequestResponse)
_REJECT: Final = Rpc(_SERVICE, "RejectRequest", pb.RejectRequestRequest, pb.RejectRequestResponse)
_CANCEL: Final = Rpc(_SERVICE, "CancelRequest", pb.CancelRequestRequest, pb.CancelRequestResponse)


class _OfApprover(Protocol):
    """Any answer that carries one approver's key."""

    @property
    def approver(self) -> pb.Approver: ...


class _OfRequest(Protocol):
    """Any answer that carries one request."""

    @property
    def request(self) -> pb.ApprovalRequest: ...


def enrol_approver(
    principal: str, public_key: bytes, proof: bytes, *, request_id: str | None = None
) -> Call[results.Approver]:
    """Enrol a key as a principal's own; for administrators.

    Args:
        principal: ARN of whose it is.
        public_key: DER SubjectPublicKeyInfo of an Ed25519 or P-256 key.
        proof: the key's signature over `strongroom.signing.enrolment_file`.
        request_id: idempotency key; a fresh one by default.
    """
    request = _ENROL.make(principal=principal, public_key=public_key, proof=proof, request_id=request_id)
    return _ENROL.call(request, _approver)


def revoke_approver(approver_id: str, *, request_id: str | None = None) -> Call[results.Approver]:
    """Revoke an approver's key for ever; what it approved and was not executed yet does not count."""
    return _REVOKE.call(_REVOKE.make(approver_id=approver_id, request_id=request_id), _approver)


def list_approvers(*, page_size: int = 0, page_token: str = "") -> Call[results.Page[results.Approver]]:
    """List approvers' keys: the account's for administrators, else one's own."""
    return _APPROVERS.call(_APPROVERS.make(page_size=page_size, page_token=page_token), _approvers)


def get_quorum(*, account: str = "") -> Call[results.Quorum]:
    """Read how many must approve in an account where no key's own quorum counts."""
    return _GET_QUORUM.call(_GET_QUORUM.make(account=account), _quorum)


def put_quorum(quorum: int, approval_id: str, *, request_id: str | None = None) -> Call[results.Quorum]:
    """Change it for one's own account, with an approved request for exactly this."""
    request = _PUT_QUORUM.make(quorum=quorum, approval_id=approval_id, request_id=request_id)
    return _PUT_QUORUM.call(request, _quorum)


def ask_policy_change(
    key: str,
    policy: str,
    *,
    purpose: str,
    bypass_policy_lockout_safety_check: bool = False,
    lifetime_seconds: int = 0,
    request_id: str | None = None,
) -> Call[results.ApprovalRequest]:
    """Ask for approval of a new policy for a protected key; `put_key_policy` then names the request."""
    change = pb.PolicyChange(
        key=key, policy=policy, bypass_policy_lockout_safety_check=bypass_policy_lockout_safety_check
    )
    return _ask(purpose, lifetime_seconds, request_id, policy_change=change)


def ask_key_deletion(
    key: str,
    pending_window_days: int,
    *,
    purpose: str,
    lifetime_seconds: int = 0,
    request_id: str | None = None,
) -> Call[results.ApprovalRequest]:
    """Ask for approval of a protected key's deletion; `schedule_key_deletion` then names the request."""
    deletion = pb.KeyDeletion(key=key, pending_window_days=pending_window_days)
    return _ask(purpose, lifetime_seconds, request_id, key_deletion=deletion)


def ask_material_deletion(
    key: str,
    *,
    purpose: str,
    key_version: int = 0,
    lifetime_seconds: int = 0,
    request_id: str | None = None,
) -> Call[results.ApprovalRequest]:
    """Ask for approval of deleting a protected key's imported material, of the current version or another.

    `delete_imported_key_material` then names the request, and the same version.
    """
    deletion = pb.MaterialDeletion(key=key, key_version=key_version)
    return _ask(purpose, lifetime_seconds, request_id, material_deletion=deletion)


def ask_material_expiry(
    key: str,
    valid_to: datetime,
    *,
    purpose: str,
    key_version: int = 0,
    lifetime_seconds: int = 0,
    request_id: str | None = None,
) -> Call[results.ApprovalRequest]:
    """Ask for approval of an end, or an earlier one, of a protected key's imported material.

    `import_key_material` then names the request, and the same `valid_to`.

    Args:
        key: key id, key ARN, alias or alias ARN.
        valid_to: when the material goes; with a time zone. Milliseconds count, what is finer does not.
        purpose: why, for the approvers.
        key_version: whose material it is, or will be; 0 is the current one.
        lifetime_seconds: for how long the request may wait; 0 is a day.
        request_id: idempotency key; a fresh one by default.
    """
    end = pb.MaterialExpiry(key=key, key_version=key_version, valid_to=_read.stamp(valid_to))
    return _ask(purpose, lifetime_seconds, request_id, material_expiry=end)


def ask_wrapping_key(
    name: str,
    kind: str,
    public_key: bytes,
    *,
    purpose: str,
    lifetime_seconds: int = 0,
    request_id: str | None = None,
) -> Call[results.ApprovalRequest]:
    """Ask for approval of a wrapping key; `register_wrapping_key` then names the request.

    Args:
        name: what people call it.
        kind: a WrappingKeyKind.
        public_key: DER SubjectPublicKeyInfo of the recipient's RSA key.
        purpose: why, for the approvers.
        lifetime_seconds: for how long it may wait; 0 is a day.
        request_id: idempotency key; a fresh one by default.
    """
    number = enums.WRAPPING_KEY_KIND.number(kind, "wrapping_key.kind")
    wanted = pb.WrappingKeyRegistration(name=name, kind=number, public_key=public_key)  # type: ignore[arg-type]
    return _ask(purpose, lifetime_seconds, request_id, wrapping_key=wanted)


def ask_peer(
    statement: bytes,
    signature: bytes,
    statement_key: bytes,
    *,
    purpose: str,
    lifetime_seconds: int = 0,
    request_id: str | None = None,
) -> Call[results.ApprovalRequest]:
    """Ask for approval of another house; `register_peer` then names the request.

    Args:
        statement: the payload of its statement.
        signature: over the payload.
        statement_key: DER SubjectPublicKeyInfo of the key that signs its statements.
        purpose: why, for the approvers.
        lifetime_seconds: for how long it may wait; 0 is a day.
        request_id: idempotency key; a fresh one by default.
    """
    wanted = pb.PeerRegistration(statement=statement, signature=signature, statement_key=statement_key)
    return _ask(purpose, lifetime_seconds, request_id, peer=wanted)


def ask_lost_primary(
    key: str, region: str, *, purpose: str, lifetime_seconds: int = 0, request_id: str | None = None
) -> Call[results.ApprovalRequest]:
    """Ask for approval that a lost key's primary is elsewhere; `move_lost_primary` then names the request."""
    wanted = pb.LostPrimary(key=key, region=region)
    return _ask(purpose, lifetime_seconds, request_id, lost_primary=wanted)


def ask_quorum(
    quorum: int, *, purpose: str, lifetime_seconds: int = 0, request_id: str | None = None
) -> Call[results.ApprovalRequest]:
    """Ask for approval of another quorum for one's own account; `put_quorum` then names the request."""
    return _ask(purpose, lifetime_seconds, request_id, quorum_change=pb.QuorumChange(quorum=quorum))


def _ask(
    purpose: str, lifetime_seconds: int, request_id: str | None, **subject: object
) -> Call[results.ApprovalRequest]:
    request = _ASK.make(purpose=purpose, lifetime_seconds=lifetime_seconds, request_id=request_id, **subject)
    return _ASK.call(request, _request)


def describe_approval(approval_id: str) -> Call[results.ApprovalRequest]:
    """Read a request: what is asked, its file, who approved, what is missing, and the receipt."""
    return _DESCRIBE.call(_DESCRIBE.make(approval_id=approval_id), _request)


def list_approvals(
    *, state: str = "", key: str = "", own: bool = False, page_size: int = 0, page_token: str = ""
) -> Call[results.Page[results.ApprovalRequest]]:
    """List requests, oldest first, without their files.

    Args:
        state: an ApprovalState; empty for all.
        key: of this key, for who may approve there; empty for all.
        own: only what the caller asked.
        page_size: requests a page.
        page_token: next_page_token of the page before.
    """
    number = enums.APPROVAL_STATE.number(state, "state")
    request = _LIST.make(state=number, key=key, own=own, page_size=page_size, page_token=page_token)
    return _LIST.call(request, _requests)


def approve_request(
    approval_id: str, signature: bytes, *, approver_id: str = "", request_id: str | None = None
) -> Call[results.ApprovalRequest]:
    """Approve a request.

    Args:
        approval_id: which.
        signature: by an enrolled key of one's own, over the request's file (`strongroom.signing.sign`).
        approver_id: which key; empty where there is one only.
        request_id: idempotency key; a fresh one by default.
    """
    request = _APPROVE.make(
        approval_id=approval_id, approver_id=approver_id, signature=signature, request_id=request_id
    )
    return _APPROVE.call(request, _request)


def reject_request(
    approval_id: str, *, note: str = "", request_id: str | None = None
) -> Call[results.ApprovalRequest]:
    """Turn a request down for good."""
    request = _REJECT.make(approval_id=approval_id, note=note, request_id=request_id)
    return _REJECT.call(request, _request)


def cancel_request(
    approval_id: str, *, note: str = "", request_id: str | None = None
) -> Call[results.ApprovalRequest]:
    """Take a request back."""
    request = _CANCEL.make(approval_id=approval_id, note=note, request_id=request_id)
    return _CANCEL.call(request, _request)


def _approver(reply: _OfApprover) -> results.Approver:
    return _read_approver(reply.approver)


def _read_approver(found: pb.Approver) -> results.Approver:
    return results.Approver(
        approver_id=found.approver_id,
        account=found.account,
        principal=found.principal,
        public_key=found.public_key,
        enrolled_time=_read.time_of(found, "enrolled_time"),
        enrolled_by=found.enrolled_by,
        revoked_time=_read.time_of(found, "revoked_time"),
        revoked_by=found.revoked_by,
    )


def _approvers(reply: pb.ListApproversResponse) -> results.Page[results.Approver]:
    return results.Page(tuple(_read_approver(each) for each in reply.approvers), reply.next_page_token)


def _quorum(reply: pb.GetQuorumResponse | pb.PutQuorumResponse) -> results.Quorum:
    return results.Quorum(reply.account, reply.quorum)


def _request(reply: _OfRequest) -> results.ApprovalRequest:
    return read_request(reply.request)


def _requests(reply: pb.ListApprovalsResponse) -> results.Page[results.ApprovalRequest]:
    return results.Page(tuple(read_request(each) for each in reply.requests), reply.next_page_token)


def read_request(found: pb.ApprovalRequest) -> results.ApprovalRequest:
    """Read a request, of whatever service."""
    return results.ApprovalRequest(
        approval_id=found.approval_id,
        action=enums.GUARDED_ACTION.name(found.action),
        account=found.account,
        key=found.key,
        key_version=found.key_version,
        parameters=dict(found.parameters),
        requester=found.requester,
        behind=tuple(found.behind),
        purpose=found.purpose,
        quorum=found.quorum,
        approved=found.approved,
        missing=found.missing,
        approvals=tuple(_read_approval(each) for each in found.approvals),
        state=enums.APPROVAL_STATE.name(found.state),
        created_time=_read.time_of(found, "created_time"),
        expiry_time=_read.time_of(found, "expiry_time"),
        closed_time=_read.time_of(found, "closed_time"),
        closed_by=found.closed_by,
        note=found.note,
        request_file=found.request_file,
        digest=found.digest,
        receipt=read_receipt(found.receipt) if found.HasField("receipt") else None,
    )


def _read_approval(found: pb.Approval) -> results.Approval:
    return results.Approval(
        principal=found.principal,
        approver_id=found.approver_id,
        signature=found.signature,
        approved_time=_read.time_of(found, "approved_time"),
        counts=found.counts,
    )


def read_receipt(found: pb.Receipt) -> results.Receipt:
    """Read a receipt."""
    return results.Receipt(found.payload, found.signature, found.key_id)
