"""Use cases of quota limits, for administrators: read, set, remove, list, and see what is left."""

from dataclasses import dataclass

from strongroomd.custody import pages
from strongroomd.custody.auditfacts import note_key, note_name
from strongroomd.custody.catalog import Catalog
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.keyforms import check_etag
from strongroomd.custody.ledger import Change
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.passage import Passage
from strongroomd.custody.quotas import Quotas
from strongroomd.domain import names
from strongroomd.domain.actions import Action
from strongroomd.domain.algorithms import QuotaClass
from strongroomd.domain.errors import Reason, StrongroomError, denied, invalid
from strongroomd.domain.principals import parse_principal
from strongroomd.domain.quota import Rate, settle_rate
from strongroomd.domain.records import KeyRecord, LimitRecord, LimitScope
from strongroomd.domain.servicekeys import is_fixed


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit in force; `record` is None when it is the configured default of a class."""

    scope: LimitScope
    subject: str
    per_second: int
    burst: int
    record: LimitRecord | None


@dataclass(frozen=True, slots=True)
class LimitPage:
    """Limits of one page, and the token of the next (empty at the end)."""

    limits: list[Limit]
    next_token: str


class Limits(UseCases):
    """Quota limits' management."""

    def __init__(self, gate: Gate, catalog: Catalog, mutations: Mutations, quotas: Quotas) -> None:
        super().__init__(gate)
        self._catalog = catalog
        self._mutations = mutations
        self._quotas = quotas

    async def _subject(self, passage: Passage, scope: LimitScope, text: str) -> str:
        """Bring a subject to its one spelling: a key id, a principal's ARN, or `<account>/<class>`."""
        if not text:
            raise invalid("subject", "must not be empty")
        if scope is LimitScope.PRINCIPAL:
            principal = parse_principal(text, "subject")
            _require_account(passage, principal.account)
            return principal.arn
        if scope is LimitScope.KEY:
            return await self._key(passage, text)
        account, subject = class_subject(text, passage.caller.principal.account)
        _require_account(passage, account)
        return subject

    async def _key(self, passage: Passage, text: str) -> str:
        """Find the key of a limit; of another account's the audit record repeats the name, and no more."""
        try:
            entry = await self._catalog.find(passage.caller.principal.account, text, "subject")
            _require_account(passage, entry.key.account)
        except StrongroomError as error:
            note_name(passage.facts, error, text)
            raise
        note_key(passage.facts, entry.arn)
        if is_fixed(entry.key, passage.action):
            raise StrongroomError(Reason.SERVICE_MANAGED_KEY, field="subject")
        return entry.key.key_id

    async def _claim(self, passage: Passage, scope: LimitScope, text: str) -> str:
        passage.claim_keyless()
        subject = await self._subject(passage, scope, text)
        passage.facts["limit"] = f"{scope}/{subject}"
        return subject

    @gated(Action.GET_LIMIT)
    async def get(self, passage: Passage, scope: LimitScope, subject: str) -> Limit:
        """Read the limit in force. Raises NOT_FOUND where there is none."""
        return await self._read(scope, await self._claim(passage, scope, subject))

    async def _read(self, scope: LimitScope, subject: str) -> Limit:
        record = await self._mutations.ledger.read(LimitRecord, f"{scope}/{subject}")
        if record is not None:
            return _limit(record)
        if scope is not LimitScope.CLASS:
            raise StrongroomError(Reason.NOT_FOUND, field="subject")
        return self._default(subject)

    def _default(self, subject: str) -> Limit:
        rate = self._quotas.defaults[QuotaClass(subject.rpartition("/")[2])]
        return Limit(LimitScope.CLASS, subject, rate.per_second, rate.burst, None)

    @gated(Action.PUT_LIMIT)
    async def put(
        self,
        passage: Passage,
        scope: LimitScope,
        subject: str,
        per_second: int,
        burst: int = 0,
        etag: str = "",
        request_id: str = "",
    ) -> Limit:
        """Set a limit; burst 0 means as much as one second grants. In force everywhere within a second."""
        rate = settle_rate(per_second, burst)
        name = await self._claim(passage, scope, subject)

        async def work(change: Change) -> LimitRecord:
            return await set_limit(change, scope, name, rate, etag)

        arguments = [scope, name, per_second, burst, etag]
        record = await self._mutations.once(passage, LimitRecord, request_id, arguments, work)
        await self._quotas.refresh()
        return _limit(record)

    @gated(Action.DELETE_LIMIT)
    async def delete(
        self, passage: Passage, scope: LimitScope, subject: str, etag: str = "", request_id: str = ""
    ) -> None:
        """Remove a limit; a class falls back to its default. Raises NOT_FOUND where there is none."""
        name = await self._claim(passage, scope, subject)

        async def work(change: Change) -> LimitRecord:
            current = await change.get(LimitRecord, f"{scope}/{name}")
            if current is None:
                raise StrongroomError(Reason.NOT_FOUND, field="subject")
            check_etag(current.row_version, etag)
            await change.delete(current)
            return current

        await self._mutations.once(passage, LimitRecord, request_id, [scope, name, etag], work)
        await self._quotas.refresh()

    @gated(Action.LIST_LIMITS)
    async def list_limits(
        self, passage: Passage, scope: LimitScope | None = None, size: int = 0, token: str = ""
    ) -> LimitPage:
        """List the limits that are set, and the defaults of the caller's account's classes."""
        passage.claim_keyless()
        limit, binding = pages.page_size(size), (*pages.asker(passage), scope or "")
        after = pages.decode(token, *binding)
        account = passage.caller.principal.account
        found = {f"{LimitScope.CLASS}/{account}/{c}": self._default(f"{account}/{c}") for c in QuotaClass}
        await self._mutations.ledger.follow()  # a limit that another worker has just put is listed, too
        for record_id in self._mutations.ledger.known(LimitRecord):
            record = await self._mutations.ledger.read(LimitRecord, record_id)
            if record is not None and await self._may_see(passage, record):
                found[record_id] = _limit(record)
        shown = sorted(name for name in found if name > after and (not scope or found[name].scope is scope))
        next_token = pages.encode(shown[limit - 1], *binding) if len(shown) > limit else ""
        return LimitPage([found[name] for name in shown[:limit]], next_token)

    async def _may_see(self, passage: Passage, record: LimitRecord) -> bool:
        """Say whether a limit is of the caller's own account, or the caller an operator."""
        principal = passage.caller.principal
        if principal.operator:
            return True
        match record.scope:
            case LimitScope.CLASS:
                return record.subject.partition("/")[0] == principal.account
            case LimitScope.PRINCIPAL:
                return record.subject.split(":")[4] == principal.account
            case LimitScope.KEY:
                key = await self._mutations.ledger.read(KeyRecord, record.subject)
                return key is not None and key.account == principal.account

    @gated(Action.GET_QUOTA_USAGE)
    async def usage(self, passage: Passage, scope: LimitScope, subject: str) -> tuple[Limit, int]:
        """Say what a subject could spend now."""
        name = await self._claim(passage, scope, subject)
        await self._quotas.refresh()
        return await self._read(scope, name), self._quotas.available(scope, name)[1]


def class_subject(text: str, account: str) -> tuple[str, str]:
    """Give the account of a class, the caller's where none is named, and its one spelling."""
    named, _, name = text.rpartition("/")
    if name not in set(QuotaClass):
        raise invalid(
            "subject", "must be SYMMETRIC, RSA, ECC or MANAGEMENT, with or without ACCOUNT/ before it"
        )
    checked = names.account_id(named or account, "subject")
    return checked, f"{checked}/{name}"


async def set_limit(
    change: Change, scope: LimitScope, subject: str, rate: Rate, etag: str = ""
) -> LimitRecord:
    """Set a subject's limit inside a change. Raises ETAG_MISMATCH."""
    current = await change.get(LimitRecord, f"{scope}/{subject}")
    version = current.row_version if current else 0
    check_etag(version, etag)
    record = LimitRecord(scope, subject, rate.per_second, rate.burst, version + 1)
    await change.put(record)
    return record


async def in_force(change: Change, quotas: Quotas, scope: LimitScope, subject: str) -> Rate | None:
    """Give a subject's limit as a change sees it; None for a key or principal without one."""
    record = await change.get(LimitRecord, f"{scope}/{subject}")
    if record is not None:
        return Rate(record.per_second, record.burst)
    return quotas.defaults[QuotaClass(subject.rpartition("/")[2])] if scope is LimitScope.CLASS else None


def _require_account(passage: Passage, account: str) -> None:
    """Refuse an administrator of another account."""
    principal = passage.caller.principal
    if not (principal.operator or account == principal.account):
        raise denied("the limit is of another account")


def _limit(record: LimitRecord) -> Limit:
    return Limit(record.scope, record.subject, record.per_second, record.burst, record)
