"""ApprovalService on the wire."""

import hashlib
from typing import Final

from strongroom.v1 import approvals_pb2 as pb
from strongroomd.custody import subjects
from strongroomd.custody.approvals import ApprovalFilter, Approvals
from strongroomd.custody.approvers import Approvers
from strongroomd.custody.dualcontrol import Wish
from strongroomd.custody.standings import Standing
from strongroomd.domain import exporting, names
from strongroomd.domain.approvalrecords import ApprovalRecord, ApprovalRequestRecord, ApproverRecord
from strongroomd.domain.approvals import (
    MAX_LIFETIME_MS,
    ApprovalState,
    check_lifetime,
    check_purpose,
    check_quorum,
)
from strongroomd.domain.errors import invalid
from strongroomd.domain.exporting import WrappingKeyKind
from strongroomd.frontends.grpc import convert
from strongroomd.frontends.grpc.door import Call
from strongroomd.frontends.grpc.replicas import new_peer


class ApproverMethods:
    """The methods about approvers' keys and the quorum."""

    def __init__(self, approvers: Approvers) -> None:
        self._approvers = approvers

    async def EnrolApprover(self, request: pb.EnrolApproverRequest, call: Call) -> pb.EnrolApproverResponse:
        """Enrol a key."""
        made = await self._approvers.enrol(
            call.caller,
            request.principal,
            request.public_key,
            request.proof,
            names.request_id(request.request_id),
        )
        return pb.EnrolApproverResponse(approver=_approver(made))

    async def RevokeApprover(
        self, request: pb.RevokeApproverRequest, call: Call
    ) -> pb.RevokeApproverResponse:
        """Revoke a key."""
        request_id = names.request_id(request.request_id)
        done = await self._approvers.revoke(call.caller, request.approver_id, request_id)
        return pb.RevokeApproverResponse(approver=_approver(done))

    async def ListApprovers(self, request: pb.ListApproversRequest, call: Call) -> pb.ListApproversResponse:
        """List keys."""
        page = await self._approvers.list_approvers(call.caller, request.page_size, request.page_token)
        return pb.ListApproversResponse(
            approvers=[_approver(record) for record in page.approvers], next_page_token=page.next_token
        )

    async def GetQuorum(self, request: pb.GetQuorumRequest, call: Call) -> pb.GetQuorumResponse:
        """Read an account's quorum."""
        account, quorum = await self._approvers.get_quorum(call.caller, request.account)
        return pb.GetQuorumResponse(account=account, quorum=quorum)

    async def PutQuorum(self, request: pb.PutQuorumRequest, call: Call) -> pb.PutQuorumResponse:
        """Change the account's quorum."""
        request_id = names.request_id(request.request_id)
        account, quorum = await self._approvers.put_quorum(
            call.caller, request.quorum, request.approval_id, request_id
        )
        return pb.PutQuorumResponse(account=account, quorum=quorum)


class ApprovalServicer(ApproverMethods):
    """Turns ApprovalService messages into use cases and back; one method an RPC."""

    def __init__(self, approvals: Approvals, approvers: Approvers) -> None:
        super().__init__(approvers)
        self._approvals = approvals

    async def AskApproval(self, request: pb.AskApprovalRequest, call: Call) -> pb.AskApprovalResponse:
        """Ask for approval."""
        request_id = names.request_id(request.request_id)
        why = wish(request.purpose, request.lifetime_seconds)
        made = await self._approvals.ask(call.caller, _subject(request), why, request_id)
        return pb.AskApprovalResponse(request=approval_request(made))

    async def DescribeApproval(
        self, request: pb.DescribeApprovalRequest, call: Call
    ) -> pb.DescribeApprovalResponse:
        """Show a request."""
        found = await self._approvals.describe(call.caller, request.approval_id)
        return pb.DescribeApprovalResponse(request=approval_request(found))

    async def ListApprovals(self, request: pb.ListApprovalsRequest, call: Call) -> pb.ListApprovalsResponse:
        """List requests."""
        state = convert.from_wire(ApprovalState, request.state, "state")
        wanted = ApprovalFilter(state, request.key, request.own)
        page = await self._approvals.list_approvals(
            call.caller, wanted, request.page_size, request.page_token
        )
        return pb.ListApprovalsResponse(
            requests=[approval_request(each, whole=False) for each in page.standings],
            next_page_token=page.next_token,
        )

    async def ApproveRequest(
        self, request: pb.ApproveRequestRequest, call: Call
    ) -> pb.ApproveRequestResponse:
        """Approve a request."""
        if not request.signature:
            raise invalid("signature", "must be set")
        done = await self._approvals.approve(
            call.caller,
            request.approval_id,
            request.approver_id,
            request.signature,
            names.request_id(request.request_id),
        )
        return pb.ApproveRequestResponse(request=approval_request(done))

    async def RejectRequest(self, request: pb.RejectRequestRequest, call: Call) -> pb.RejectRequestResponse:
        """Turn a request down."""
        request_id = names.request_id(request.request_id)
        done = await self._approvals.reject(call.caller, request.approval_id, request.note, request_id)
        return pb.RejectRequestResponse(request=approval_request(done))

    async def CancelRequest(self, request: pb.CancelRequestRequest, call: Call) -> pb.CancelRequestResponse:
        """Take a request back."""
        request_id = names.request_id(request.request_id)
        done = await self._approvals.cancel(call.caller, request.approval_id, request.note, request_id)
        return pb.CancelRequestResponse(request=approval_request(done))


_LIFETIME_SECONDS: Final = MAX_LIFETIME_MS // 1000


def wish(purpose: str, seconds: int) -> Wish:
    """Read why something is asked for, and for how many seconds it may wait; 0 is a day."""
    lifetime = check_lifetime((seconds or _LIFETIME_SECONDS) * 1000, "lifetime_seconds")
    return Wish(check_purpose(purpose), lifetime)


def registration(name: str, kind: int, public_key: bytes, place: str = "") -> subjects.Registration:
    """Read a wrapping key that is to be registered."""
    return subjects.Registration(
        exporting.wrapping_key_name(name, f"{place}name"),
        convert.required(WrappingKeyKind, kind, f"{place}kind"),
        convert.rsa_recipient(public_key, f"{place}public_key"),
    )


def _subject(request: pb.AskApprovalRequest) -> subjects.Subject:
    match request.WhichOneof("subject"):
        case "policy_change":
            change = request.policy_change
            if not change.policy:
                raise invalid("policy_change.policy", "must not be empty")
            return subjects.PolicyChange(change.key, change.policy, change.bypass_policy_lockout_safety_check)
        case "key_deletion":
            return subjects.Deletion(request.key_deletion.key, request.key_deletion.pending_window_days)
        case "material_deletion":
            gone = request.material_deletion
            return subjects.MaterialDeletion(gone.key, gone.key_version)
        case "material_expiry":
            end = request.material_expiry
            place = "material_expiry.valid_to"
            valid_to = convert.milliseconds(end.valid_to, end.HasField("valid_to"), place)
            return subjects.MaterialExpiry(end.key, end.key_version, valid_to)
    return _account_subject(request)


def _account_subject(request: pb.AskApprovalRequest) -> subjects.Subject:
    """Read what the account's people approve."""
    match request.WhichOneof("subject"):
        case "wrapping_key":
            wanted = request.wrapping_key
            return registration(wanted.name, wanted.kind, wanted.public_key, "wrapping_key.")
        case "peer":
            peer = request.peer
            return new_peer(peer.statement, peer.signature, peer.statement_key)
        case "lost_primary":
            return subjects.LostPrimary(request.lost_primary.key, request.lost_primary.region)
        case "quorum_change":
            quorum = check_quorum(request.quorum_change.quorum, "quorum_change.quorum")
            return subjects.QuorumChange(quorum)
    raise invalid("subject", "must be set")


def _approver(record: ApproverRecord) -> pb.Approver:
    return pb.Approver(
        approver_id=record.approver_id,
        account=record.account,
        principal=record.principal,
        public_key=record.public_key,
        enrolled_time=convert.timestamp(record.enrolled_at),
        enrolled_by=record.enrolled_by,
        revoked_time=convert.timestamp(record.revoked_at),
        revoked_by=record.revoked_by,
    )


def approval_request(standing: Standing, *, whole: bool = True) -> pb.ApprovalRequest:
    """Describe a request as it stands; without file, digest and parameters where it is not to be `whole`."""
    record = standing.record
    file = record.request.file if whole else b""
    return pb.ApprovalRequest(
        approval_id=record.approval_id,
        action=convert.to_wire(record.action),
        account=record.account,
        key=record.key_arn,
        key_version=record.version,
        parameters=dict(record.parameters) if whole else {},
        requester=record.requester,
        behind=record.behind.split(),
        purpose=record.purpose,
        quorum=record.quorum,
        approved=standing.count.approvals,
        missing=standing.count.missing,
        approvals=[_approval(each, standing) for each in standing.given],
        state=convert.to_wire(record.state),
        created_time=convert.timestamp(record.created_at),
        expiry_time=convert.timestamp(record.expires_at),
        closed_time=convert.timestamp(record.closed_at),
        closed_by=record.closed_by,
        note=record.note,
        request_file=file,
        digest=hashlib.sha256(file).hexdigest() if whole else "",
        receipt=receipt(record),
    )


def _approval(given: ApprovalRecord, standing: Standing) -> pb.Approval:
    return pb.Approval(
        principal=given.principal,
        approver_id=given.approver_id,
        signature=given.signature,
        approved_time=convert.timestamp(given.approved_at),
        counts=given in standing.counted,
    )


def receipt(record: ApprovalRequestRecord) -> pb.Receipt | None:
    """Give the receipt of what was executed, if there is one."""
    if not record.statement:
        return None
    return pb.Receipt(payload=record.statement, signature=record.signature, key_id=record.statement_key)
