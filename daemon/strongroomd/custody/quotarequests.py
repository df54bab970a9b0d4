"""Use cases of quota requests: ask for a limit, see what became of it, answer, take it back.

An approval and the limit that it sets are one transaction. Of an id that is not the caller's to see, none of
these tells whether there is such a request.
"""

import dataclasses
from dataclasses import dataclass

from strongroomd.custody import pages
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.keyforms import check_etag
from strongroomd.custody.ledger import Change
from strongroomd.custody.limits import class_subject, in_force, set_limit
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.passage import Passage
from strongroomd.custody.quotas import Quotas
from strongroomd.domain import quotarequests as asking
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.lifecycle import Act
from strongroomd.domain.limits import (
    MAX_QUOTA_REQUESTS,
    MAX_QUOTA_REQUESTS_KEPT,
    MAX_QUOTA_REQUESTS_OF_ACCOUNT,
)
from strongroomd.domain.principals import parse_principal
from strongroomd.domain.quota import LimitScope, Rate
from strongroomd.domain.quotarequests import Answer, QuotaRequestRecord, RequestState
from strongroomd.domain.servicekeys import is_fixed
from strongroomd.ports import Vault

_ID_BYTES = 10


@dataclass(frozen=True, slots=True)
class Wanted:
    """The limit that somebody asks for, and why; the rate and the text are checked."""

    scope: LimitScope
    subject: str
    rate: Rate
    justification: str = ""


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """Which requests to list; None means any. `own`: only the caller's, whatever else it may see."""

    state: RequestState | None = None
    scope: LimitScope | None = None
    own: bool = False


@dataclass(frozen=True, slots=True)
class RequestPage:
    """Requests of one page, oldest first, and the token of the next (empty at the end)."""

    requests: list[QuotaRequestRecord]
    next_token: str


class QuotaRequests(UseCases):
    """Ask, look, answer, cancel.

    Args:
        gate: the one way in.
        mutations: idempotent changes.
        quotas: the defaults of the classes; told of limits that are set.
        vault: random ids.
    """

    def __init__(self, gate: Gate, mutations: Mutations, quotas: Quotas, vault: Vault) -> None:
        super().__init__(gate)
        self._mutations = mutations
        self._quotas = quotas
        self._vault = vault

    @gated(Action.REQUEST_QUOTA)
    async def request(self, passage: Passage, wanted: Wanted, request_id: str = "") -> QuotaRequestRecord:
        """Ask for a limit. Raises LIMIT_EXCEEDED, and ALREADY_EXISTS while the caller's wish for it waits."""
        account, subject = await self._subject(passage, wanted)
        passage.claim_own()
        passage.facts["limit"] = f"{wanted.scope}/{subject}"
        _note_rate(passage, "asked", wanted.rate)
        draft = await self._draft(passage, wanted, account, subject)

        async def work(change: Change) -> QuotaRequestRecord:
            await _require_room(change, draft)
            now = await in_force(change, self._quotas, draft.scope, draft.subject) or Rate(0, 0)
            record = dataclasses.replace(draft, in_force_per_second=now.per_second, in_force_burst=now.burst)
            await change.put(record)
            return record

        arguments = [wanted.scope, subject, wanted.rate, wanted.justification]
        made = await self._mutations.once(passage, QuotaRequestRecord, request_id, arguments, work)
        passage.facts["quota_request"] = made.id
        return made

    async def _subject(self, passage: Passage, wanted: Wanted) -> tuple[str, str]:
        """Settle whose account a subject is of, and its one spelling; refuse what is not to be asked for."""
        caller = passage.caller.principal
        if not wanted.subject:
            raise invalid("subject", "must not be empty")
        match wanted.scope:
            case LimitScope.KEY:
                entry = await passage.claim(
                    wanted.subject, Act.READ, action=Action.DESCRIBE_KEY, field="subject"
                )
                if is_fixed(entry.key, passage.action):
                    raise StrongroomError(Reason.SERVICE_MANAGED_KEY, field="subject")
                return entry.key.account, entry.key.key_id
            case LimitScope.PRINCIPAL:
                if parse_principal(wanted.subject, "subject").arn != caller.arn:
                    raise StrongroomError(Reason.ACCESS_DENIED, "a principal may ask for itself only")
                return caller.account, caller.arn
            case LimitScope.CLASS:
                account, subject = class_subject(wanted.subject, caller.account)
                if account != caller.account:
                    raise StrongroomError(Reason.ACCESS_DENIED, "a caller may ask for its own account only")
                return account, subject

    async def _draft(
        self, passage: Passage, wanted: Wanted, account: str, subject: str
    ) -> QuotaRequestRecord:
        now = self._mutations.clock.wall_ms()
        return QuotaRequestRecord(
            id=asking.request_id_at(now, await self._vault.random(_ID_BYTES)),
            account=account,
            scope=wanted.scope,
            subject=subject,
            per_second=wanted.rate.per_second,
            burst=wanted.rate.burst,
            justification=wanted.justification,
            principal=passage.caller.principal.arn,
            asker_account=passage.caller.principal.account,
            source=asking.who_is_behind(passage.caller),
            state=RequestState.PENDING,
            in_force_per_second=0,
            in_force_burst=0,
            granted_per_second=0,
            granted_burst=0,
            created_at=now,
            closed_at=0,
            closed_by="",
            note="",
        )

    @gated(Action.GET_QUOTA_REQUEST)
    async def get(self, passage: Passage, request: str) -> QuotaRequestRecord:
        """Read a request: the caller's own, or one that its account's administrators answer."""
        record = await self._find(passage, request)
        if _asked(passage, record):
            passage.claim_own()
            return record
        if not (_reaches(passage, record) and passage.may(Action.GET_QUOTA_REQUEST)):
            raise _unknown()
        passage.claim_keyless()
        return record

    @gated(Action.LIST_QUOTA_REQUESTS)
    async def list_requests(
        self, passage: Passage, wanted: RequestFilter, size: int = 0, token: str = ""
    ) -> RequestPage:
        """List requests, oldest first: who may see the account's sees them, others see their own."""
        where = self._claim_list(passage, own=wanted.own)
        if wanted.state:
            where["state"] = wanted.state.value
        if wanted.scope:
            where["scope"] = wanted.scope.value
        limit = pages.page_size(size)
        binding = (*pages.asker(passage), *(f"{name}={value}" for name, value in where.items()))
        after = pages.decode(token, *binding)
        found, last = await self._mutations.ledger.page(QuotaRequestRecord, where, after=after, limit=limit)
        return RequestPage(found, pages.encode(last, *binding) if last else "")

    def _claim_list(self, passage: Passage, *, own: bool) -> dict[str, str]:
        """Pay for a list, and say whose requests it shows."""
        principal = passage.caller.principal
        if own or not passage.may(Action.LIST_QUOTA_REQUESTS):
            passage.claim_own()
            return {"principal": principal.arn}
        passage.claim_keyless()
        return {} if principal.operator else {"account": principal.account}

    @gated(Action.ANSWER_QUOTA_REQUEST)
    async def answer(
        self, passage: Passage, request: str, answer: Answer, etag: str = "", request_id: str = ""
    ) -> QuotaRequestRecord:
        """Approve a request, which sets the limit in the same transaction, or deny it."""
        record = await self._find(passage, request)
        rights = passage.may(Action.ANSWER_QUOTA_REQUEST) and passage.may(Action.PUT_LIMIT)
        if not (rights and _reaches(passage, record)):
            raise _unknown()
        passage.facts["limit"] = f"{record.scope}/{record.subject}"
        if asking.is_own(record, passage.caller):
            raise StrongroomError(Reason.ACCESS_DENIED, "whoever asked for it may not answer it")
        passage.claim_keyless()
        passage.facts["answer"] = answer.decision.value

        async def work(change: Change) -> QuotaRequestRecord:
            current = await _current(change, record.id, etag)
            now = self._mutations.clock.wall_ms()
            done = asking.answered(current, answer, passage.caller.principal.arn, now)
            if done.state is RequestState.APPROVED:
                granted = Rate(done.granted_per_second, done.granted_burst)
                await set_limit(change, done.scope, done.subject, granted)
            await change.put(done)
            return done

        arguments = [record.id, answer, etag]
        done = await self._mutations.once(passage, QuotaRequestRecord, request_id, arguments, work)
        if done.state is RequestState.APPROVED:
            _note_rate(passage, "granted", Rate(done.granted_per_second, done.granted_burst))
            await self._quotas.refresh()
        return done

    @gated(Action.CANCEL_QUOTA_REQUEST)
    async def cancel(
        self, passage: Passage, request: str, etag: str = "", request_id: str = ""
    ) -> QuotaRequestRecord:
        """Take the caller's own request back."""
        record = await self._find(passage, request)
        if not _asked(passage, record):
            raise _unknown()
        passage.claim_own()

        async def work(change: Change) -> QuotaRequestRecord:
            current = await _current(change, record.id, etag)
            now = self._mutations.clock.wall_ms()
            done = asking.cancelled(current, passage.caller.principal.arn, now)
            await change.put(done)
            return done

        arguments = [record.id, etag]
        return await self._mutations.once(passage, QuotaRequestRecord, request_id, arguments, work)

    async def _find(self, passage: Passage, request: str) -> QuotaRequestRecord:
        """Read a request, before it is known whether the caller may see it; the audit log has its name."""
        passage.facts["quota_request"] = asking.check_id(request)
        record = await self._mutations.ledger.read(QuotaRequestRecord, request)
        if record is None:
            raise _unknown()
        return record


def _unknown() -> StrongroomError:
    text = "the quota request does not exist, or the caller may not do this with it"
    return StrongroomError(Reason.ACCESS_DENIED, text)


def _asked(passage: Passage, record: QuotaRequestRecord) -> bool:
    return record.principal == passage.caller.principal.arn


def _reaches(passage: Passage, record: QuotaRequestRecord) -> bool:
    """Say whether a request is of the caller's account, or the caller an operator."""
    principal = passage.caller.principal
    return principal.operator or record.account == principal.account


def _note_rate(passage: Passage, name: str, rate: Rate) -> None:
    passage.facts[name] = {"per_second": rate.per_second, "burst": rate.burst}


async def _current(change: Change, record_id: str, etag: str) -> QuotaRequestRecord:
    current = await change.get(QuotaRequestRecord, record_id)
    if current is None:  # forgotten since
        raise _unknown()
    check_etag(current.row_version, etag)
    return current


async def _require_room(change: Change, draft: QuotaRequestRecord) -> None:
    """Refuse a second wish for the same, and one too many; inside the transaction, so that races do not."""
    pending = {"state": RequestState.PENDING.value}
    own, same = {"principal": draft.principal}, {"scope": draft.scope.value, "subject": draft.subject}
    how_many = change.transaction.how_many
    if await how_many(QuotaRequestRecord, pending | own | same):
        text = "a request of this principal for this subject is pending: cancel it first"
        raise StrongroomError(Reason.ALREADY_EXISTS, text, field="subject")
    if await how_many(QuotaRequestRecord, pending | own) >= MAX_QUOTA_REQUESTS:
        raise _too_many(f"a principal has at most {MAX_QUOTA_REQUESTS} pending quota requests")
    if await how_many(QuotaRequestRecord, own) >= MAX_QUOTA_REQUESTS_KEPT:
        raise _too_many(f"at most {MAX_QUOTA_REQUESTS_KEPT} quota requests of a principal are kept")
    account = {"asker_account": draft.asker_account}
    if await how_many(QuotaRequestRecord, pending | account) >= MAX_QUOTA_REQUESTS_OF_ACCOUNT:
        raise _too_many(f"an account has at most {MAX_QUOTA_REQUESTS_OF_ACCOUNT} pending quota requests")


def _too_many(text: str) -> StrongroomError:
    return StrongroomError(Reason.LIMIT_EXCEEDED, text)
