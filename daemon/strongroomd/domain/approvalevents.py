"""Which event a change of dual control's records is.

The subject is the key's ARN where a request is about one, so that a key's events come in order; of what is
the account's it is its root's ARN, of an approver's key the principal's. Facts are names, states and counts;
never a purpose, a note, a policy or a signature.
"""

from collections.abc import Iterator
from typing import Any, Final

from strongroomd.domain.approvalrecords import (
    ApprovalRecord,
    ApprovalRequestRecord,
    ApproverRecord,
    QuorumRecord,
)
from strongroomd.domain.approvals import ApprovalState, GuardedAction
from strongroomd.domain.events import Draft, EventType
from strongroomd.domain.exporting import WrappingKeyRecord
from strongroomd.domain.protection import Record

BECAME: Final[dict[ApprovalState, EventType]] = {
    ApprovalState.WAITING: EventType.APPROVAL_REQUESTED,
    ApprovalState.APPROVED: EventType.APPROVAL_COMPLETED,
    ApprovalState.EXECUTED: EventType.APPROVAL_EXECUTED,
    ApprovalState.CANCELLED: EventType.APPROVAL_CANCELLED,
    ApprovalState.EXPIRED: EventType.APPROVAL_EXPIRED,
    ApprovalState.REJECTED: EventType.APPROVAL_REJECTED,
}


def happenings(before: Record | None, after: Record | None) -> list[Draft]:
    """Say what the change of one record of dual control means; nothing for a record of anything else."""
    match before or after:
        case ApprovalRequestRecord():
            return list(_of_request(before, after))
        case ApprovalRecord():
            return list(_of_approval(after))
        case ApproverRecord():
            return list(_of_approver(before, after))
        case QuorumRecord():
            return list(_of_quorum(after))
        case WrappingKeyRecord():
            return list(_of_wrapping_key(before, after))
    return []


def _of_request(before: Any, after: Any) -> Iterator[Draft]:  # noqa: ANN401 - a request or None
    if after is None or (before is not None and before.state is after.state):
        return
    subject = after.key_arn or _root(after.account)
    facts = {
        "account": after.account,
        "approval": after.approval_id,
        "action": after.action.value,
        "requester": after.requester,
        "quorum": after.quorum,
        "state": after.state.value,
        "expires_at": after.expires_at,
        "closed_by": after.closed_by,
    }
    yield Draft(BECAME[after.state], subject, facts)
    if after.state is ApprovalState.EXECUTED and after.action is GuardedAction.EXPORT_KEY:
        yield Draft(EventType.KEY_EXPORTED, subject, _export_facts(after))


def _export_facts(request: ApprovalRequestRecord) -> dict[str, Any]:
    parameters = dict(request.parameters)
    return {
        "account": request.account,
        "approval": request.approval_id,
        "requester": request.requester,
        "version": request.version,
        "level": parameters.get("level", ""),
        "algorithm": parameters.get("algorithm", ""),
        "recipient_sha256": parameters.get("public_key_sha256", ""),
        "wrapping_key": parameters.get("wrapping_key", ""),
    }


def _of_approval(after: Any) -> Iterator[Draft]:  # noqa: ANN401 - an approval or None
    if after is not None:
        facts = {"account": after.account, "approval": after.approval_id, "key_id": after.key_id}
        facts |= {"principal": after.principal, "approver": after.approver_id}
        yield Draft(EventType.APPROVAL_GIVEN, f"approval/{after.approval_id}", facts)


def _of_approver(before: Any, after: Any) -> Iterator[Draft]:  # noqa: ANN401 - an approver's key or None
    facts = {"account": after.account, "approver": after.approver_id}
    if before is None:
        yield Draft(EventType.APPROVER_ENROLLED, after.principal, facts | {"by": after.enrolled_by})
    elif before.revoked_at != after.revoked_at:
        yield Draft(EventType.APPROVER_REVOKED, after.principal, facts | {"by": after.revoked_by})


def _of_quorum(after: Any) -> Iterator[Draft]:  # noqa: ANN401 - a quorum
    facts = {"account": after.account, "quorum": after.quorum, "by": after.changed_by}
    yield Draft(EventType.QUORUM_CHANGED, _root(after.account), facts)


def _of_wrapping_key(before: Any, after: Any) -> Iterator[Draft]:  # noqa: ANN401 - a wrapping key or None
    key = after or before
    facts = {"account": key.account, "wrapping_key": key.wrapping_key_id, "kind": key.kind.value}
    if before is None:
        yield Draft(EventType.WRAPPING_KEY_REGISTERED, _root(key.account), facts)
    elif after is None:
        yield Draft(EventType.WRAPPING_KEY_REMOVED, _root(key.account), facts)


def _root(account: str) -> str:
    return f"arn:aws:iam::{account}:root"
