"""How a request for approval stands: its approvals verified and counted as they are now.

Counted are people of the account who may call and whose key is not revoked. Signatures are verified over
exactly the request that is stored, each time but for lists.
"""

import dataclasses
import hashlib
from dataclasses import dataclass

from strongroomd.custody import approvalproofs
from strongroomd.custody.directory import Directory
from strongroomd.custody.ledger import Change
from strongroomd.custody.mutations import Mutations
from strongroomd.domain import approvals
from strongroomd.domain.accounts import PrincipalRecord, PrincipalState
from strongroomd.domain.approvalrecords import ApprovalRecord, ApprovalRequestRecord, ApproverRecord
from strongroomd.domain.approvals import OPEN, ApprovalState, Count, Enrolled


@dataclass(frozen=True, slots=True)
class Standing:
    """A request as it stands.

    Attributes:
        record: with its state as it is now: EXPIRED where its time is over.
        given: approvals, of which not all may count.
        count: how many do.
        counted: which do, one a person, who asked last.
    """

    record: ApprovalRequestRecord
    given: tuple[ApprovalRecord, ...]
    count: Count
    counted: tuple[ApprovalRecord, ...] = ()


class Standings:
    """Counts approvals.

    Args:
        mutations: the ledger and the clock.
        directory: says who may still call.
        requester_counts: whether who asked may be one of those who approve, where no key's policy says.
    """

    def __init__(self, mutations: Mutations, directory: Directory, *, requester_counts: bool) -> None:
        self._ledger, self._clock = mutations.ledger, mutations.clock
        self._directory = directory
        self._requester_counts = requester_counts

    def state_of(self, record: ApprovalRequestRecord) -> ApprovalState:
        """Say a request's state now: upkeep may not have marked yet what has expired."""
        over = approvals.is_over(record.request, self._clock.wall_ms())
        return ApprovalState.EXPIRED if over and record.state in OPEN else record.state

    async def within(
        self, change: Change, record: ApprovalRequestRecord, fresh: ApprovalRecord | None = None
    ) -> Standing:
        """Count a request's approvals as they are inside a change, and one that is about to be stored."""
        found = await change.transaction.find(ApprovalRecord, {"approval_id": record.approval_id})
        stored = [await change.get(ApprovalRecord, each.record.record_id) for each in found]
        given = [each for each in stored if each is not None]
        if fresh is not None:
            given = [*(each for each in given if each.principal != fresh.principal), fresh]
        keys: dict[str, Enrolled] = {}
        for name in {each.approver_id for each in given}:
            key = await change.get(ApproverRecord, name)
            if key is not None:
                admitted = await self._admitted(change, key.principal)
                keys[name] = dataclasses.replace(key.enrolled, admitted=admitted)
        return self._counted(record, given, _proved(record, given, keys))

    async def _admitted(self, change: Change, arn: str) -> bool:
        """Say whether a principal may call, as it is inside a change: memory may be a second behind."""
        if self._directory.admit(arn) is None:
            return False
        record = await change.get(PrincipalRecord, arn)
        if record is None:
            return self._directory.is_configured(arn)
        return record.state is not PrincipalState.DISABLED

    async def look(self, record: ApprovalRequestRecord) -> Standing:
        """Count a request's approvals, outside a change: for whoever only wants to know."""
        given, keys = await self._given(record)
        return self._counted(record, given, _proved(record, given, keys))

    async def look_again(self, record: ApprovalRequestRecord) -> Standing:
        """Count a request as it is by now: the record is a first answer that is given again, perhaps."""
        return await self.look(await self._ledger.read(ApprovalRequestRecord, record.approval_id) or record)

    async def glance(self, record: ApprovalRequestRecord) -> Standing:
        """Count a request's approvals for a list, where many stand: no signature is verified anew.

        Each was when it was given, and its record is verified; spending and `look` verify them again.
        """
        given, keys = await self._given(record)
        return self._counted(record, given, _fit(record, given, keys))

    async def _given(self, record: ApprovalRequestRecord) -> tuple[list[ApprovalRecord], dict[str, Enrolled]]:
        ledger = self._ledger
        where = {"approval_id": record.approval_id}
        given, _ = await ledger.page(ApprovalRecord, where, after="", limit=_MOST_GIVEN)
        keys: dict[str, Enrolled] = {}
        for name in {each.approver_id for each in given}:
            key = await ledger.read(ApproverRecord, name)
            if key is not None:
                admitted = self._directory.admit(key.principal) is not None
                keys[name] = dataclasses.replace(key.enrolled, admitted=admitted)
        return given, keys

    def _counted(
        self, record: ApprovalRequestRecord, given: list[ApprovalRecord], good: list[ApprovalRecord]
    ) -> Standing:
        request = record.request
        # Of a key's request its policy has said when somebody approved whether who asked may.
        counts = bool(record.key_id) or self._requester_counts
        count = approvals.tally(request, (each.principal for each in good), requester_counts=counts)
        own = [each for each in good if each.principal in request.people] if count.own else []
        others = [each for each in good if each.principal in count.others]
        counted = (*sorted(others, key=_principal), *sorted(own, key=_principal)[:1])
        shown = dataclasses.replace(record, state=self.state_of(record))
        return Standing(shown, tuple(given), count, counted)


_MOST_GIVEN = 100
"""Approvals of one request that are looked at: one a person, and nobody has so many people."""


def _principal(given: ApprovalRecord) -> str:
    return given.principal


def _fit(
    record: ApprovalRequestRecord, given: list[ApprovalRecord], keys: dict[str, Enrolled]
) -> list[ApprovalRecord]:
    """Give the approvals of people who count."""
    return [each for each in given if not approvals.unfit(record.account, each.approval, keys)]


def _proved(
    record: ApprovalRequestRecord, given: list[ApprovalRecord], keys: dict[str, Enrolled]
) -> list[ApprovalRecord]:
    """Give those of them whose signature is one over exactly this request."""
    fit = _fit(record, given, keys)
    if not fit:
        return []
    file = record.request.file
    digest = hashlib.sha256(file).hexdigest()
    return [
        each
        for each in fit
        if each.digest == digest
        and approvalproofs.verifies(keys[each.approver_id].public_key, file, each.signature)
    ]


def approvers_of(standing: Standing) -> list[str]:
    """Name whose approvals count, who asked last."""
    return [each.principal for each in standing.counted]
