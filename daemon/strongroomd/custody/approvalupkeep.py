"""What becomes of approval requests by itself: those whose time is over expire, old ones are forgotten."""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

from strongroomd.custody.diary import UNCHANGED, Diary
from strongroomd.custody.dualcontrol import DualControl
from strongroomd.domain import approvals
from strongroomd.domain.approvalrecords import ApprovalRecord, ApprovalRequestRecord
from strongroomd.domain.approvals import OPEN, ApprovalState, Step, next_state
from strongroomd.domain.errors import StrongroomError
from strongroomd.domain.events import DAEMON
from strongroomd.ports import Store
from strongroomd.telemetry import logs

KEPT_MS = 400 * 24 * 3600 * 1000
"""How long what was not executed is kept once it closed. What was executed stays for ever, as evidence."""

_AT_ONCE = 100
_log = logs.get("approvals")
_FORGOTTEN = (ApprovalState.EXPIRED, ApprovalState.CANCELLED, ApprovalState.REJECTED)


class ApprovalUpkeep:
    """Expires and forgets; the elected worker's, every ten seconds.

    Args:
        control: the ledger and the clock.
        store: finds what is due.
        diary: writes down what expires and what is forgotten.
        believed: says whether the wall clock may be acted upon; what expires does so for ever.
    """

    def __init__(
        self, control: DualControl, store: Store, diary: Diary, believed: Callable[[], Awaitable[bool]]
    ) -> None:
        self._believed = believed
        self._diary = diary
        self._ledger, self._clock = control.mutations.ledger, control.mutations.clock
        self._store = store

    async def tidy(self) -> None:
        """Mark what has expired, and forget what is old."""
        if not await self._believed():
            return
        now = self._clock.wall_ms()
        for state in OPEN:
            for due in await self._store.approvals_due(state.value, now, _AT_ONCE):
                await self._alone(self._expire(due.record.approval_id))
        for state in _FORGOTTEN:
            for old in await self._store.approvals_due(state.value, now - KEPT_MS, _AT_ONCE):
                await self._alone(self._forget(old.record.approval_id, now))

    @staticmethod
    async def _alone(step: Awaitable[None]) -> None:
        """Let one request that cannot be dealt with, an edited one perhaps, hold up no other."""
        try:
            await step
        except StrongroomError as error:
            _log.warning(
                "an approval request is left as it is", reason=error.reason.value, detail=error.detail
            )

    async def _expire(self, approval_id: str) -> None:
        now = self._clock.wall_ms()
        due = await self._ledger.read(ApprovalRequestRecord, approval_id)
        if due is None or not approvals.is_over(due.request, now):
            return
        async with (
            self._diary.noted("strongroom:ExpireApproval", _facts(due)) as told,
            self._ledger.change() as change,
        ):
            record = await change.get(ApprovalRequestRecord, approval_id)
            if record is None or record.state not in OPEN or not approvals.is_over(record.request, now):
                told["outcome"] = UNCHANGED  # somebody was first
                return
            await change.put(
                dataclasses.replace(
                    record,
                    state=next_state(record.state, Step.EXPIRE),
                    closed_at=now,
                    closed_by=DAEMON,
                    row_version=record.row_version + 1,
                )
            )

    async def _forget(self, approval_id: str, now: int) -> None:
        old = await self._ledger.read(ApprovalRequestRecord, approval_id)
        if old is None or old.closed_at > now - KEPT_MS:
            return
        async with (
            self._diary.noted("strongroom:ForgetApproval", _facts(old)) as told,
            self._ledger.change() as change,
        ):
            record = await change.get(ApprovalRequestRecord, approval_id)
            if record is None or record.state not in _FORGOTTEN or record.closed_at > now - KEPT_MS:
                told["outcome"] = UNCHANGED
                return
            for each in await change.transaction.find(ApprovalRecord, {"approval_id": approval_id}):
                given = await change.get(ApprovalRecord, each.record.record_id)
                if given is not None:
                    await change.delete(given)
            await change.delete(record)


def _facts(record: ApprovalRequestRecord) -> dict[str, Any]:
    """Say of which request a record of the audit log is; of what kind, since it may be forgotten later."""
    facts = {
        "approval": record.approval_id,
        "account": record.account,
        "guarded": record.action.value,
        "requester": record.requester,
        "state": record.state.value,
    }
    return facts | ({"key": record.key_arn} if record.key_arn else {})
