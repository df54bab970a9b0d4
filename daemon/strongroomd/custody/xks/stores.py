"""Use cases of key stores: create, describe, list, update, block and unblock, delete.

A store belongs to an account; its administrators manage it, an operator manages all. Of a store of another
account nothing is told, not even that it is there; but that a URI path prefix is taken is told, as any URI
would tell it.
"""

import dataclasses
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from strongroomd.custody import pages
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.keyforms import check_etag
from strongroomd.custody.ledger import Change
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.passage import Passage
from strongroomd.custody.registrar import known, put_next
from strongroomd.custody.xks.shelf import Shelf
from strongroomd.domain import names
from strongroomd.domain.accounts import AccountRecord
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.protection import Record
from strongroomd.domain.quota import Rate
from strongroomd.domain.xks import names as xksnames
from strongroomd.domain.xks import policy
from strongroomd.domain.xks.records import MAX_STORES, CredentialRecord, ExternalKeyRecord, StoreRecord
from strongroomd.ports import Vault

R = TypeVar("R", bound=Record)
NO_RATE: Final = Rate(0, 0)


@dataclass(frozen=True, slots=True)
class StoreForm:
    """What a store is to be like; None in an update means as it is.

    Attributes:
        policy: JSON, or empty for none.
        rate: of the store; key_rate: of each external key; principal_rate: of each AWS principal;
            `NO_RATE` for no limit.
    """

    description: str | None = None
    policy: str | None = None
    rate: Rate | None = None
    key_rate: Rate | None = None
    principal_rate: Rate | None = None

    def check(self) -> None:
        """Refuse what no store may have. Raises INVALID_FIELD, FIELD_TOO_LARGE, MALFORMED_POLICY."""
        names.description(self.description or "")
        policy.parse(self.policy or "")

    def applied(self, record: StoreRecord) -> StoreRecord:
        """Give a record with what the form says."""
        plain = {name: getattr(self, name) for name in ("description", "policy")}
        changes = {name: value for name, value in plain.items() if value is not None}
        for prefix, rate in (("", self.rate), ("key_", self.key_rate), ("principal_", self.principal_rate)):
            if rate is not None:
                changes |= {f"{prefix}per_second": rate.per_second, f"{prefix}burst": rate.burst}
        return dataclasses.replace(record, **changes)


@dataclass(frozen=True, slots=True)
class StorePage:
    """Stores of one page, and the token of the next (empty at the end)."""

    stores: list[StoreRecord]
    next_token: str


class StoreDesk:
    """What all management of key stores shares: finding a store, and changes that are in force at once.

    Args:
        mutations: idempotent changes.
        shelf: follows each change before its caller is answered.
    """

    def __init__(self, mutations: Mutations, shelf: Shelf) -> None:
        self.mutations = mutations
        self.shelf = shelf

    def enter(self, passage: Passage, store: str) -> str:
        """Claim the right to the account's stores, and give the id of one, which may not exist.

        Nothing is read before: who has no right finds out nothing by asking.
        """
        store_id = xksnames.store_id(store)
        passage.facts["key_store"] = store_id
        passage.claim_keyless()
        return store_id

    async def claim(self, passage: Passage, store: str) -> StoreRecord:
        """Claim the right to a store by its id. Raises NOT_FOUND, also for another account's."""
        store_id = self.enter(passage, store)
        return owned(passage, await self.mutations.ledger.read(StoreRecord, store_id))

    async def once(
        self,
        passage: Passage,
        kind: type[R],
        request_id: str,
        arguments: object,
        work: Callable[[Change], Awaitable[R]],
    ) -> R:
        """Make a change once, and have this worker know of it before the caller does."""
        result = await self.mutations.once(passage, kind, request_id, arguments, work)
        await self.shelf.refresh()
        return result


def owned(passage: Passage, record: StoreRecord | None) -> StoreRecord:
    """Give a store that the caller administers. Raises NOT_FOUND for any other."""
    principal = passage.caller.principal
    if record is None or (record.account != principal.account and not principal.operator):
        raise StrongroomError(Reason.NOT_FOUND, field="key_store")
    return record


async def current(passage: Passage, change: Change, store_id: str, etag: str = "") -> StoreRecord:
    """Read a store inside a change. Raises NOT_FOUND, also for another account's; ETAG_MISMATCH."""
    record = owned(passage, await change.get(StoreRecord, store_id))
    check_etag(record.row_version, etag)
    return record


class Stores(UseCases):
    """Key stores' management."""

    def __init__(self, gate: Gate, desk: StoreDesk, vault: Vault) -> None:
        super().__init__(gate)
        self._desk = desk
        self._vault = vault

    @gated(Action.CREATE_KEY_STORE)
    async def create(
        self, passage: Passage, account: str, prefix: str | None, form: StoreForm, request_id: str = ""
    ) -> StoreRecord:
        """Make a key store, without credentials and keys.

        Args:
            passage: the call.
            account: whose; empty for the caller's own.
            prefix: the URI path prefix; empty for none, None for one that is made up: `/` and the store's id.
            form: the rest; what is None is empty.
            request_id: the caller's idempotency key.

        Raises:
            StrongroomError: ALREADY_EXISTS for a prefix that is taken; LIMIT_EXCEEDED; NOT_FOUND where there
                is no such account.
        """
        form.check()
        owner = names.account_id(account) if account else passage.caller.principal.account
        chosen = None if prefix is None else xksnames.uri_prefix(prefix)
        passage.claim_account(owner)
        draft = form.applied(await self._draft(owner, chosen))

        async def work(change: Change) -> StoreRecord:
            if owner != passage.caller.principal.account:
                known(await change.get(AccountRecord, owner), "account")
            if await change.transaction.find(StoreRecord, {"uri_prefix": draft.uri_prefix}):
                raise StrongroomError(Reason.ALREADY_EXISTS, field="uri_prefix")
            if await change.transaction.how_many(StoreRecord, {}) >= MAX_STORES:
                raise StrongroomError(Reason.LIMIT_EXCEEDED, f"there are {MAX_STORES} key stores already")
            await change.put(draft)
            return draft

        made = await self._desk.once(passage, StoreRecord, request_id, [owner, chosen, form], work)
        passage.facts["key_store"] = made.store_id
        return made

    async def _draft(self, account: str, prefix: str | None) -> StoreRecord:
        store_id = xksnames.store_id_of(await self._vault.random(xksnames.STORE_ID_BYTES))
        return StoreRecord(
            store_id=store_id,
            account=account,
            uri_prefix=f"/{store_id}" if prefix is None else prefix,
            description="",
            blocked=False,
            policy="",
            per_second=0,
            burst=0,
            key_per_second=0,
            key_burst=0,
            principal_per_second=0,
            principal_burst=0,
            created_at=self._desk.mutations.clock.wall_ms(),
        )

    @gated(Action.DESCRIBE_KEY_STORE)
    async def describe(self, passage: Passage, store: str) -> StoreRecord:
        """Describe a store. Raises NOT_FOUND."""
        return await self._desk.claim(passage, store)

    @gated(Action.LIST_KEY_STORES)
    async def list_stores(self, passage: Passage, size: int = 0, token: str = "") -> StorePage:
        """List the stores that the caller administers: their account's, or all for an operator."""
        passage.claim_keyless()
        principal = passage.caller.principal
        where = {} if principal.operator else {"account": principal.account}
        limit, binding = pages.page_size(size), pages.asker(passage)
        after = pages.decode(token, *binding)
        ledger = self._desk.mutations.ledger
        found, last = await ledger.page(StoreRecord, where, after=after, limit=limit)
        return StorePage(found, pages.encode(last, *binding) if last else "")

    @gated(Action.UPDATE_KEY_STORE)
    async def update(
        self, passage: Passage, store: str, form: StoreForm, etag: str = "", request_id: str = ""
    ) -> StoreRecord:
        """Change a store's description, policy and limits; in force within a second everywhere."""
        form.check()
        return await self._change(passage, store, form.applied, etag, request_id, form)

    @gated(Action.BLOCK_KEY_STORE)
    async def block(self, passage: Passage, store: str, etag: str = "", request_id: str = "") -> StoreRecord:
        """Answer nothing more from a store but that it is blocked, within a second everywhere."""
        return await self._change(passage, store, _blocked, etag, request_id, "")

    @gated(Action.UNBLOCK_KEY_STORE)
    async def unblock(
        self, passage: Passage, store: str, etag: str = "", request_id: str = ""
    ) -> StoreRecord:
        """Let a store work again."""
        return await self._change(passage, store, _unblocked, etag, request_id, "")

    async def _change(
        self,
        passage: Passage,
        store: str,
        edit: Callable[[StoreRecord], StoreRecord],
        etag: str,
        request_id: str,
        arguments: object,
    ) -> StoreRecord:
        store_id = self._desk.enter(passage, store)

        async def work(change: Change) -> StoreRecord:
            record = await current(passage, change, store_id, etag)
            edited = edit(record)
            changed: StoreRecord = record if edited == record else await put_next(change, edited)
            return changed

        bound = [store_id, arguments, etag]
        return await self._desk.once(passage, StoreRecord, request_id, bound, work)

    @gated(Action.DELETE_KEY_STORE)
    async def delete(self, passage: Passage, store: str, etag: str = "", request_id: str = "") -> StoreRecord:
        """Remove a store with its credentials. Raises INVALID_FIELD while it has external keys."""
        store_id = self._desk.enter(passage, store)  # not claimed: a repeated call finds it gone

        async def work(change: Change) -> StoreRecord:
            record = await current(passage, change, store_id, etag)
            if await change.transaction.how_many(ExternalKeyRecord, {"store_id": record.store_id}):
                raise invalid("key_store", "must have no external keys any more")
            for each in await change.transaction.find(CredentialRecord, {"store_id": record.store_id}):
                found = await change.get(CredentialRecord, each.record.record_id)
                if found is not None:
                    await change.delete(found)
            await change.delete(record)
            return record

        bound = [store_id, etag]
        return await self._desk.once(passage, StoreRecord, request_id, bound, work)


def _blocked(record: StoreRecord) -> StoreRecord:
    return dataclasses.replace(record, blocked=True)


def _unblocked(record: StoreRecord) -> StoreRecord:
    return dataclasses.replace(record, blocked=False)
