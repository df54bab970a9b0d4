"""Dual control: what the use cases that it guards need of it, and how requests are frozen and spent.

A guarded change names an approved request. Inside the transaction of the change the request is read again,
held against what is about to be done, its approvals verified and counted as they are now, and marked
EXECUTED: change and mark are durable together or not at all, and of two that come at once one wins.
"""

import dataclasses
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from strongroomd.custody.auditfacts import note_key
from strongroomd.custody.directory import Directory
from strongroomd.custody.ledger import Change
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.passage import Passage
from strongroomd.custody.standings import Standing, Standings, approvers_of
from strongroomd.domain import approvals
from strongroomd.domain.approvalrecords import (
    ApprovalRequestRecord,
    QuorumRecord,
)
from strongroomd.domain.approvals import (
    DEFAULT_QUORUM,
    ID_BYTES,
    NONCE_BYTES,
    OPEN,
    ApprovalState,
    GuardedAction,
    Step,
    next_state,
)
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.principals import Caller
from strongroomd.domain.quotarequests import who_is_behind
from strongroomd.ports import Vault

MAX_WAITING = 200  # open requests of one account
MAX_WAITING_OF_PRINCIPAL = 50


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is about to be done, or asked for.

    Attributes:
        account: whose people approve.
        quorum: how many must, as key and account say now.
        key_id, key_arn, version: the key; empty and 0 where it is about none.
        parameters: everything else that decides what happens, sorted by name.
    """

    action: GuardedAction
    account: str
    quorum: int
    parameters: tuple[tuple[str, str], ...]
    key_id: str = ""
    key_arn: str = ""
    version: int = 0


@dataclass(frozen=True, slots=True)
class Receipt:
    """A signed statement of what was done, to be stored with the request that it spends."""

    payload: bytes = b""
    signature: bytes = b""
    key: str = ""


NO_RECEIPT = Receipt()


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks to be approved: why, and for how long it may wait (ms); checked."""

    purpose: str
    lifetime: int


Receive = Callable[[Standing], Awaitable[Receipt]]
"""Makes the receipt for a request as it stands when it is spent."""


class DualControl:
    """Freezes and spends requests.

    Args:
        mutations: the ledger and the clock.
        directory: says who may still call.
        vault: random ids.
        requester_counts: whether who asked may be one of those who approve, where no key's policy says.
    """

    def __init__(
        self, mutations: Mutations, directory: Directory, vault: Vault, *, requester_counts: bool = True
    ) -> None:
        self.mutations = mutations
        self.standings = Standings(mutations, directory, requester_counts=requester_counts)
        self._vault = vault

    async def quorum_of(self, account: str) -> int:
        """Say how many approvals an account asks for where no key's own quorum counts."""
        record = await self.mutations.ledger.read(QuorumRecord, account)
        return record.quorum if record else DEFAULT_QUORUM

    async def freeze(self, passage: Passage, wanted: Wanted, wish: Wish) -> ApprovalRequestRecord:
        """Make the record of a new request; it is not stored yet."""
        now = self.mutations.clock.wall_ms()
        record = ApprovalRequestRecord(
            approval_id=approvals.request_id_at(now, await self._vault.random(ID_BYTES)),
            account=wanted.account,
            action=wanted.action,
            key_id=wanted.key_id,
            key_arn=wanted.key_arn,
            version=wanted.version,
            parameters=wanted.parameters,
            requester=passage.caller.principal.arn,
            behind=behind(passage.caller),
            purpose=wish.purpose,
            quorum=wanted.quorum,
            created_at=now,
            expires_at=now + wish.lifetime,
            nonce=(await self._vault.random(NONCE_BYTES)).hex(),
            state=ApprovalState.WAITING,
            closed_at=0,
            closed_by="",
            note="",
            statement=b"",
            signature=b"",
            statement_key="",
        )
        approvals.check_request(record.request)
        return record

    async def store(self, change: Change, record: ApprovalRequestRecord) -> None:
        """Store a new request. Raises LIMIT_EXCEEDED where too many wait."""
        how_many = change.transaction.how_many
        of_account, own = {"account": record.account}, {"requester": record.requester}
        for where, most in ((of_account, MAX_WAITING), (own, MAX_WAITING_OF_PRINCIPAL)):
            waiting = [await how_many(ApprovalRequestRecord, where | {"state": each.value}) for each in OPEN]
            if sum(waiting) >= most:
                text = "too many approval requests wait: cancel some, or let them expire"
                raise StrongroomError(Reason.LIMIT_EXCEEDED, text)
        await change.put(record)

    async def read(self, passage: Passage, approval_id: str) -> ApprovalRequestRecord:
        """Read a request, before it is known whether the caller may see it; the audit log has its name."""
        passage.facts["approval"] = approvals.check_id(approval_id)
        record = await self.mutations.ledger.read(ApprovalRequestRecord, approval_id)
        if record is None:
            raise unknown()
        if record.key_arn:
            note_key(passage.facts, record.key_arn)
        return record

    async def examine(self, passage: Passage, record: ApprovalRequestRecord, wanted: Wanted) -> None:
        """Refuse early what `spend` would refuse, before the HSM is asked for anything."""
        _require_match(passage, record, wanted)
        _require_spendable(await self.standings.look(record), wanted)

    async def spend(
        self,
        passage: Passage,
        change: Change,
        approval_id: str,
        wanted: Wanted,
        receive: Receive | None = None,
    ) -> Standing:
        """Mark an approved request EXECUTED, in the transaction of what it approves.

        A receipt is made of exactly what is counted here, not of what somebody looked at before.

        Raises:
            StrongroomError: APPROVAL_REQUIRED where none is named or approvals are missing; APPROVAL_MISMATCH
                for a request of something else or somebody else; APPROVAL_CLOSED; ACCESS_DENIED for one that
                does not exist.
        """
        if not approval_id:
            raise StrongroomError(Reason.APPROVAL_REQUIRED, field="approval_id")
        passage.facts["approval"] = approvals.check_id(approval_id)
        record = await change.get(ApprovalRequestRecord, approval_id)
        if record is None:
            raise unknown()
        _require_match(passage, record, wanted)
        standing = await self.standings.within(change, record)
        _require_spendable(standing, wanted)
        receipt = await receive(standing) if receive is not None else NO_RECEIPT
        done = _executed(record, receipt, self.mutations.clock.wall_ms(), passage.caller.principal.arn)
        await change.put(done)
        passage.facts["approved_by"] = approvers_of(standing)
        return dataclasses.replace(standing, record=done)


def behind(caller: Caller) -> str:
    """Name who is behind a caller's principal, as records have it: sorted, with a space between."""
    return " ".join(sorted(set(who_is_behind(caller).split())))


def is_askers(record: ApprovalRequestRecord, caller: Caller) -> bool:
    """Say whether a request is a caller's own: the same principal asked, and the same people were behind it.

    A role is whoever has assumed it: neither is what one of them asked another's, nor the role's own.
    """
    return record.requester == caller.principal.arn and record.behind == behind(caller)


def _require_match(passage: Passage, record: ApprovalRequestRecord, wanted: Wanted) -> None:
    """Refuse a request of something else, or of somebody else; of another account there is none."""
    principal = passage.caller.principal
    if (
        record.account != principal.account
        and not principal.operator
        and not is_askers(record, passage.caller)
    ):
        raise unknown()
    fields = ("action", "account", "key_id", "version", "parameters")
    same = all(getattr(record, name) == getattr(wanted, name) for name in fields)
    if not same or not is_askers(record, passage.caller):
        raise StrongroomError(Reason.APPROVAL_MISMATCH, field="approval_id")


def _require_spendable(standing: Standing, wanted: Wanted) -> None:
    """Refuse what is over, or has too few approvals by its own quorum and by the one of now."""
    if standing.record.state not in OPEN:
        raise StrongroomError(Reason.APPROVAL_CLOSED, field="approval_id")
    count = dataclasses.replace(standing.count, quorum=max(standing.count.quorum, wanted.quorum))
    if count.missing:
        raise StrongroomError(Reason.APPROVAL_REQUIRED, field="approval_id")


def _executed(record: ApprovalRequestRecord, receipt: Receipt, at: int, by: str) -> ApprovalRequestRecord:
    """Give a request as it is once it is spent, at a time in ms, by a principal."""
    return dataclasses.replace(
        record,
        state=_spent(record.state),
        closed_at=at,
        closed_by=by,
        statement=receipt.payload,
        signature=receipt.signature,
        statement_key=receipt.key,
        row_version=record.row_version + 1,
    )


def _spent(state: ApprovalState) -> ApprovalState:
    """Give the state after an execution; the count, not the state, said that approvals suffice now."""
    return next_state(next_state(state, Step.COMPLETE), Step.EXECUTE)


@contextmanager
def as_of_requests() -> Iterator[None]:
    """Say of a key that is not the caller's what is said of a request that is not there."""
    try:
        yield
    except StrongroomError as error:
        if error.reason is Reason.ACCESS_DENIED:
            raise unknown(error.detail) from error
        raise


def unknown(detail: str | None = None) -> StrongroomError:
    """Make the one answer for requests that do not exist and those that are not the caller's to see."""
    text = "the approval request does not exist, or the caller may not do this with it"
    return StrongroomError(Reason.ACCESS_DENIED, text, detail=detail)
