"""Use cases of approvers' keys and of an account's quorum: enrol, revoke, list; get and put the quorum.

Enrolling is the administrators' and proves possession of the key. It makes nobody an approver by itself:
whose approvals count is for policies to say, and each call needs the approver's own certificate besides.
"""

import dataclasses
from dataclasses import dataclass
from functools import partial

from strongroomd.custody import approvalproofs, guarded, pages
from strongroomd.custody.dualcontrol import DualControl
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.ledger import Change
from strongroomd.custody.passage import Passage
from strongroomd.domain import approvals, names
from strongroomd.domain.actions import Action
from strongroomd.domain.approvalrecords import ApproverRecord, QuorumRecord
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.principals import Principal, parse_principal

MAX_KEYS_OF_PRINCIPAL = 10  # that are not revoked


@dataclass(frozen=True, slots=True)
class ApproverPage:
    """Approvers' keys of one page, and the token of the next (empty at the end)."""

    approvers: list[ApproverRecord]
    next_token: str


class Approvers(UseCases):
    """Approvers' keys and the account's quorum.

    Args:
        gate: the one way in.
        control: the quorum, and what changes it.
    """

    def __init__(self, gate: Gate, control: DualControl) -> None:
        super().__init__(gate)
        self._control = control
        self._mutations = control.mutations

    @gated(Action.ENROL_APPROVER)
    async def enrol(
        self, passage: Passage, principal: str, public_key: bytes, proof: bytes, request_id: str = ""
    ) -> ApproverRecord:
        """Enrol a key as a principal's own.

        Args:
            passage: the call.
            principal: ARN of whose it is.
            public_key: DER SubjectPublicKeyInfo, Ed25519 or P-256.
            proof: the key's signature over `approvals.enrolment_file`.
            request_id: the caller's idempotency key.

        Raises:
            StrongroomError: INVALID_SIGNATURE (`proof`); ALREADY_EXISTS for a key that was ever enrolled;
                INVALID_FIELD (`principal`) for a role.
        """
        owner = parse_principal(principal, "principal")
        approvalproofs.read_key(public_key)
        passage.facts["resource"] = owner.arn
        passage.claim_account(owner.account)
        if not approvals.is_person(owner.arn):
            raise invalid("principal", "must not be a role: a role is many people's, and approves nothing")
        file = approvals.enrolment_file(owner.account, owner.arn, public_key)
        approvalproofs.require(public_key, file, proof, "proof")
        draft = self._draft(passage, owner, public_key)
        passage.facts["approver_key"] = draft.approver_id
        arguments, work = [owner.arn, draft.approver_id], partial(_enrol, draft)
        made = await self._mutations.once(passage, ApproverRecord, request_id, arguments, work)
        return dataclasses.replace(made, public_key=public_key)

    def _draft(self, passage: Passage, owner: Principal, public_key: bytes) -> ApproverRecord:
        return ApproverRecord(
            approver_id=approvals.approver_id(public_key),
            account=owner.account,
            principal=owner.arn,
            public_key=public_key,
            enrolled_at=self._mutations.clock.wall_ms(),
            enrolled_by=passage.caller.principal.arn,
            revoked_at=0,
            revoked_by="",
        )

    @gated(Action.REVOKE_APPROVER)
    async def revoke(self, passage: Passage, approver_id: str, request_id: str = "") -> ApproverRecord:
        """Revoke a key for ever; what it approved and was not executed yet does not count any more."""
        checked = approvals.check_id(approver_id, "approver_id")
        passage.facts["approver_key"] = checked
        passage.claim_keyless()
        work = partial(self._revoke, passage, checked)
        done = await self._mutations.once(passage, ApproverRecord, request_id, [checked], work)
        return await self._mutations.ledger.read(ApproverRecord, done.approver_id) or done

    async def _revoke(self, passage: Passage, approver_id: str, change: Change) -> ApproverRecord:
        key = await change.get(ApproverRecord, approver_id)
        if key is None or not _reaches(passage, key.account):
            raise StrongroomError(Reason.NOT_FOUND, field="approver_id")
        passage.facts["resource"] = key.principal
        if key.revoked_at:
            return key
        revoked = dataclasses.replace(
            key,
            revoked_at=self._mutations.clock.wall_ms(),
            revoked_by=passage.caller.principal.arn,
            row_version=key.row_version + 1,
        )
        await change.put(revoked)
        return revoked

    @gated(Action.LIST_APPROVERS)
    async def list_approvers(self, passage: Passage, size: int = 0, token: str = "") -> ApproverPage:
        """List the account's approvers' keys for its administrators, all for operators, else one's own."""
        principal = passage.caller.principal
        if passage.may(Action.LIST_APPROVERS):
            passage.claim_keyless()
            where = {} if principal.operator else {"account": principal.account}
        else:
            passage.claim_own()
            where = {"principal": principal.arn}
        limit = pages.page_size(size)
        binding = (*pages.asker(passage), *where.values())
        after = pages.decode(token, *binding)
        found, last = await self._mutations.ledger.page(ApproverRecord, where, after=after, limit=limit)
        return ApproverPage(found, pages.encode(last, *binding) if last else "")

    @gated(Action.GET_QUORUM)
    async def get_quorum(self, passage: Passage, account: str = "") -> tuple[str, int]:
        """Say how many approvals an account asks for where no key's own quorum counts."""
        owner = names.account_id(account) if account else passage.caller.principal.account
        passage.claim_account(owner)
        return owner, await self._control.quorum_of(owner)

    @gated(Action.PUT_QUORUM)
    async def put_quorum(
        self, passage: Passage, quorum: int, approval_id: str, request_id: str = ""
    ) -> tuple[str, int]:
        """Set the quorum of the caller's account, which an approved request for exactly this allows.

        Keys keep the quorum that they were created with, and requests the one that they were made with.
        """
        approvals.check_quorum(quorum)
        passage.claim_keyless()
        account = passage.caller.principal.account
        passage.facts["quorum"] = quorum
        arguments, work = (
            [account, quorum, approval_id],
            partial(self._put_quorum, passage, quorum, approval_id),
        )
        done = await self._mutations.once(passage, QuorumRecord, request_id, arguments, work)
        return account, done.quorum

    async def _put_quorum(
        self, passage: Passage, quorum: int, approval_id: str, change: Change
    ) -> QuorumRecord:
        principal = passage.caller.principal
        before = await change.get(QuorumRecord, principal.account)
        now = before.quorum if before else approvals.DEFAULT_QUORUM
        wanted = guarded.quorum_change(principal.account, now, quorum)
        await self._control.spend(passage, change, approval_id, wanted)
        record = QuorumRecord(
            principal.account,
            quorum,
            self._mutations.clock.wall_ms(),
            principal.arn,
            before.row_version + 1 if before else 1,
        )
        await change.put(record)
        return record


async def _enrol(draft: ApproverRecord, change: Change) -> ApproverRecord:
    """Store a key that was never enrolled, for a principal that has room for one more."""
    if await change.get(ApproverRecord, draft.approver_id) is not None:
        text = "this key was enrolled before: every approver has a key of its own, and none comes back"
        raise StrongroomError(Reason.ALREADY_EXISTS, text, field="public_key")
    own = await change.transaction.find(ApproverRecord, {"principal": draft.principal})
    if sum(1 for each in own if not each.record.revoked_at) >= MAX_KEYS_OF_PRINCIPAL:
        text = f"a principal has at most {MAX_KEYS_OF_PRINCIPAL} enrolled keys"
        raise StrongroomError(Reason.LIMIT_EXCEEDED, text)
    await change.put(draft)
    return draft


def _reaches(passage: Passage, account: str) -> bool:
    principal = passage.caller.principal
    return principal.operator or principal.account == account
