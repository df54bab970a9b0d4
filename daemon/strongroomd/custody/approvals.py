"""Use cases of approval requests: ask, look, approve, reject, cancel.

Who approves what is asked of a key is said by the key's policy (`strongroom:ApproveRequest`); of what is
asked without a key, by the account's administrators and identity policies
(`strongroom:ApproveAccountRequest`). A person approves as itself: a role session, or a service that speaks
for somebody, approves nothing. Of an id that is not the caller's to see, none of these tells whether there is
such a request.
"""

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Final

from strongroomd.custody import approvalproofs, bringing, pages
from strongroomd.custody.dualcontrol import (
    DualControl,
    Wish,
    as_of_requests,
    behind,
    is_askers,
    unknown,
)
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.ledger import Change
from strongroomd.custody.passage import Passage
from strongroomd.custody.standings import Standing
from strongroomd.custody.subjects import Subject, Subjects
from strongroomd.domain import approvals
from strongroomd.domain.actions import Action
from strongroomd.domain.approvalrecords import ApprovalRecord, ApprovalRequestRecord, ApproverRecord
from strongroomd.domain.approvals import ApprovalState, Step, next_state
from strongroomd.domain.errors import Reason, StrongroomError, invalid, too_large
from strongroomd.domain.lifecycle import Act
from strongroomd.domain.names import plain_text
from strongroomd.domain.quotarequests import who_is_behind

MAX_NOTE: Final = 512  # characters


@dataclass(frozen=True, slots=True)
class ApprovalFilter:
    """Which requests to list: in a state, of a key (by any of its names), or only the caller's own."""

    state: ApprovalState | None = None
    key: str = ""
    own: bool = False


@dataclass(frozen=True, slots=True)
class StandingPage:
    """Requests of one page, oldest first, and the token of the next (empty at the end)."""

    standings: list[Standing]
    next_token: str


class Approvals(UseCases):
    """Ask, look, approve, reject, cancel.

    Args:
        gate: the one way in.
        control: freezes and counts.
    """

    def __init__(self, gate: Gate, control: DualControl) -> None:
        super().__init__(gate)
        self._control = control
        self._mutations = control.mutations
        self._subjects = Subjects(gate, control)

    # --- ask

    @gated(Action.ASK_APPROVAL)
    async def ask(self, passage: Passage, subject: Subject, wish: Wish, request_id: str = "") -> Standing:
        """Ask for approval of what the caller may do but for its approval.

        Raises:
            StrongroomError: INVALID_FIELD (`key`) for a key that is not protected; LIMIT_EXCEEDED.
        """
        wanted = await self._subjects.claim(passage, subject)
        passage.claim_own()
        passage.facts["guarded"] = wanted.action.value
        draft = await self._control.freeze(passage, wanted, wish)

        async def work(change: Change) -> ApprovalRequestRecord:
            await self._control.store(change, draft)
            return draft

        arguments = [wanted.action, wanted.key_id, wanted.parameters, wish.purpose, wish.lifetime]
        if wanted.version:  # repeated requests about no version are still what they were
            arguments.append(wanted.version)
        made = await self._mutations.once(passage, ApprovalRequestRecord, request_id, arguments, work)
        passage.facts["approval"] = made.approval_id
        return await self._control.standings.look_again(made)

    # --- look

    @gated(Action.DESCRIBE_APPROVAL)
    async def describe(self, passage: Passage, approval_id: str) -> Standing:
        """Show a request to who asked, who may approve it, and the account's administrators."""
        record = await self._control.read(passage, approval_id)
        if is_askers(record, passage.caller) or _administers(passage, record):
            passage.claim_own()
        else:
            await self._claim_approver(passage, record)
        return await self._control.standings.look(record)

    @gated(Action.LIST_APPROVALS)
    async def list_approvals(
        self, passage: Passage, wanted: ApprovalFilter, size: int = 0, token: str = ""
    ) -> StandingPage:
        """List requests, oldest first: of a key for who may approve there, of the account, or one's own."""
        where = await self._claim_list(passage, wanted)
        if wanted.state:
            where["state"] = wanted.state.value
        limit = pages.page_size(size)
        binding = (*pages.asker(passage), *(f"{name}={value}" for name, value in where.items()))
        after = pages.decode(token, *binding)
        found, last = await self._mutations.ledger.page(
            ApprovalRequestRecord, where, after=after, limit=limit
        )
        standings = [await self._control.standings.glance(record) for record in found]
        return StandingPage(standings, pages.encode(last, *binding) if last else "")

    async def _claim_list(self, passage: Passage, wanted: ApprovalFilter) -> dict[str, str]:
        principal = passage.caller.principal
        own = {"requester": principal.arn, "behind": behind(passage.caller)}
        if wanted.key:
            bring = bringing.whose_request(own=wanted.own)
            entry = await passage.claim(wanted.key, Act.READ, action=Action.APPROVE_REQUEST, bring=bring)
            where = {"key_id": entry.key.key_id}
            return where | (own if wanted.own else {})
        if wanted.own or not passage.may(Action.LIST_APPROVALS):
            passage.claim_own()
            return own
        passage.claim_keyless()
        return {} if principal.operator else {"account": principal.account}

    # --- approve, reject, cancel

    @gated(Action.APPROVE_REQUEST)
    async def approve(
        self,
        passage: Passage,
        approval_id: str,
        approver_id: str,
        signature: bytes,
        request_id: str = "",
    ) -> Standing:
        """Approve a request, with a signature over its file by an enrolled key of the caller's own.

        Raises:
            StrongroomError: INVALID_SIGNATURE; NOT_FOUND (`approver_id`) for a key that is not the caller's,
                or revoked; ALREADY_EXISTS where the caller has approved already; APPROVAL_CLOSED.
        """
        record = await self._control.read(passage, approval_id)
        await self._claim_approver(passage, record)
        _require_own_person(passage)
        if passage.caller.principal.account != record.account:
            raise unknown()
        key = await self._own_key(passage, approver_id)
        passage.facts["approver_key"] = key.approver_id
        approvalproofs.require(key.public_key, record.request.file, signature)
        work = partial(self._give, record.approval_id, key, signature)
        arguments = [record.approval_id, key.approver_id, signature.hex()]
        done = await self._mutations.once(passage, ApprovalRequestRecord, request_id, arguments, work)
        standing = await self._control.standings.look_again(done)
        passage.facts["missing"] = standing.count.missing
        return standing

    async def _give(
        self, approval_id: str, key: ApproverRecord, signature: bytes, change: Change
    ) -> ApprovalRequestRecord:
        """Store an approval, and the request as it stands with it."""
        current = await self._open(change, approval_id)
        if _revoked(await change.get(ApproverRecord, key.approver_id)):
            raise _no_such_key()
        given = await self._approval(change, current, key, signature)
        standing = await self._control.standings.within(change, current, given)
        await change.put(given)
        state = next_state(current.state, Step.APPROVE)
        if not standing.count.missing:
            state = next_state(state, Step.COMPLETE)
        return await _put_state(change, current, state)

    async def _approval(
        self, change: Change, record: ApprovalRequestRecord, key: ApproverRecord, signature: bytes
    ) -> ApprovalRecord:
        """Make an approval that can be stored; one by a key that is revoked since is replaced."""
        fresh = ApprovalRecord(
            approval_id=record.approval_id,
            account=record.account,
            key_id=record.key_id,
            principal=key.principal,
            approver_id=key.approver_id,
            digest=record.request.digest,
            signature=signature,
            approved_at=self._mutations.clock.wall_ms(),
        )
        before = await change.get(ApprovalRecord, fresh.record_id)
        if before is None:
            return fresh
        if not _revoked(await change.get(ApproverRecord, before.approver_id)):
            text = "the caller has approved this request already, and counts once"
            raise StrongroomError(Reason.ALREADY_EXISTS, text)
        return dataclasses.replace(fresh, row_version=before.row_version + 1)

    async def _own_key(self, passage: Passage, approver_id: str) -> ApproverRecord:
        """Find an enrolled key of the caller's own; empty for the only one that is not revoked."""
        ledger = self._mutations.ledger
        arn = passage.caller.principal.arn
        if approver_id:
            found = await ledger.read(ApproverRecord, approvals.check_id(approver_id, "approver_id"))
            own = [found] if found is not None and found.principal == arn else []
        else:
            account = {"account": passage.caller.principal.account, "principal": arn}
            own, _ = await ledger.page(ApproverRecord, account, after="", limit=_MOST_KEYS)
        living = [key for key in own if not key.revoked_at]
        if len(living) > 1:
            raise invalid("approver_id", "must say which: the caller has several enrolled keys")
        if not living:
            raise _no_such_key()
        return living[0]

    @gated(Action.REJECT_REQUEST)
    async def reject(
        self, passage: Passage, approval_id: str, note: str = "", request_id: str = ""
    ) -> Standing:
        """Turn a request down, for good; whoever may approve it may."""
        record = await self._control.read(passage, approval_id)
        await self._claim_approver(passage, record)
        return await self._close(passage, record, Step.REJECT, note, request_id)

    @gated(Action.CANCEL_REQUEST)
    async def cancel(
        self, passage: Passage, approval_id: str, note: str = "", request_id: str = ""
    ) -> Standing:
        """Take a request back: who asked, who may approve it, and the account's administrators may."""
        record = await self._control.read(passage, approval_id)
        if is_askers(record, passage.caller) or _administers(passage, record):
            passage.claim_own()
        else:
            await self._claim_approver(passage, record)
        return await self._close(passage, record, Step.CANCEL, note, request_id)

    async def _close(
        self, passage: Passage, record: ApprovalRequestRecord, step: Step, note: str, request_id: str
    ) -> Standing:
        checked = check_note(note)

        async def work(change: Change) -> ApprovalRequestRecord:
            current = await self._open(change, record.approval_id)
            closed = dataclasses.replace(
                current,
                state=next_state(current.state, step),
                closed_at=self._mutations.clock.wall_ms(),
                closed_by=passage.caller.principal.arn,
                note=checked,
                row_version=current.row_version + 1,
            )
            await change.put(closed)
            return closed

        arguments = [record.approval_id, checked]
        done = await self._mutations.once(passage, ApprovalRequestRecord, request_id, arguments, work)
        return await self._control.standings.look_again(done)

    async def _open(self, change: Change, approval_id: str) -> ApprovalRequestRecord:
        """Read a request inside a change. Raises APPROVAL_CLOSED for one whose time is over, too."""
        current = await change.get(ApprovalRequestRecord, approval_id)
        if current is None:  # forgotten since
            raise unknown()
        if self._control.standings.state_of(current) not in approvals.OPEN:
            raise StrongroomError(Reason.APPROVAL_CLOSED, field="approval_id")
        return current

    async def _claim_approver(self, passage: Passage, record: ApprovalRequestRecord) -> None:
        """Claim the right to approve a request. Raises ACCESS_DENIED."""
        own = not record.request.people.isdisjoint(_people(passage))
        if record.key_id:
            bring = bringing.approving(record.action, own=own)
            with as_of_requests():
                await passage.claim_id(record.key_id, Act.READ, action=Action.APPROVE_REQUEST, bring=bring)
            return
        principal = passage.caller.principal
        if principal.account != record.account or not passage.may(Action.APPROVE_ACCOUNT_REQUEST):
            raise unknown()
        passage.claim_own()


_MOST_KEYS: Final = 20


def check_note(text: str, field: str = "note") -> str:
    """Check a note: printable text of at most 512 characters."""
    if len(text) > MAX_NOTE:
        raise too_large(field, MAX_NOTE, "characters")
    return plain_text(text, field)


async def _put_state(
    change: Change, record: ApprovalRequestRecord, state: ApprovalState
) -> ApprovalRequestRecord:
    if state is record.state:
        return record
    changed = dataclasses.replace(record, state=state, row_version=record.row_version + 1)
    await change.put(changed)
    return changed


def _require_own_person(passage: Passage) -> None:
    """Refuse whoever is not a person of its own: it could be somebody who has approved already."""
    arn = passage.caller.principal.arn
    if _people(passage) != {arn} or not approvals.is_person(arn):
        text = "approvals are given as oneself, not as a role nor on somebody's behalf"
        raise StrongroomError(Reason.ACCESS_DENIED, text)


def _people(passage: Passage) -> set[str]:
    return {passage.caller.principal.arn, *who_is_behind(passage.caller).split()}


def _administers(passage: Passage, record: ApprovalRequestRecord) -> bool:
    """Say whether the caller administers the account of a request, or all."""
    principal = passage.caller.principal
    own = principal.operator or principal.account == record.account
    return own and principal.administrator and passage.may(Action.LIST_APPROVALS)


def _revoked(key: ApproverRecord | None) -> bool:
    return key is None or key.revoked_at != 0


def _no_such_key() -> StrongroomError:
    text = "the caller has no such enrolled key, or it is revoked"
    return StrongroomError(Reason.NOT_FOUND, text, field="approver_id")
