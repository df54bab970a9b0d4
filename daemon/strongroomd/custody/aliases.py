"""Use cases of aliases: second names of keys, unique in their account."""

import dataclasses
from dataclasses import dataclass

from strongroomd.custody import pages
from strongroomd.custody.catalog import Catalog, Entry
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.keyforms import check_etag
from strongroomd.custody.ledger import Change
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.passage import Passage
from strongroomd.domain import names
from strongroomd.domain.actions import Action
from strongroomd.domain.algorithms import SPECS
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.lifecycle import Act, require
from strongroomd.domain.limits import MAX_ALIASES_PER_KEY
from strongroomd.domain.records import AliasRecord, KeyRecord


@dataclass(frozen=True, slots=True)
class AliasPage:
    """Aliases of one page, and the token of the next (empty at the end)."""

    aliases: list[AliasRecord]
    next_token: str


class Aliases(UseCases):
    """Create, point elsewhere, delete and list aliases."""

    def __init__(self, gate: Gate, catalog: Catalog, mutations: Mutations) -> None:
        super().__init__(gate)
        self._catalog = catalog
        self._mutations = mutations

    async def _claim_by_id(self, passage: Passage, key: str) -> Entry:
        """Claim a key that an alias shall name: aliases name keys, not each other."""
        if self._catalog.realm.parse_key(key, passage.caller.principal.account).alias:
            raise invalid("key", "must be a key id or a key ARN")
        return await passage.claim(key, Act.READ)

    @gated(Action.CREATE_ALIAS)
    async def create(self, passage: Passage, name: str, key: str, request_id: str = "") -> AliasRecord:
        """Give a key an alias. Raises ALREADY_EXISTS, or LIMIT_EXCEEDED over 50 aliases of one key."""
        checked = names.new_alias_name(name)
        entry = await self._claim_by_id(passage, key)
        account, now = entry.key.account, self._mutations.clock.wall_ms()
        if account != passage.caller.principal.account:
            raise invalid("key", "must be a key of the caller's own account")
        alias = AliasRecord(account, checked, entry.key.key_id, now, now)

        async def work(change: Change) -> AliasRecord:
            await _editable(change, entry)
            if await change.get(AliasRecord, alias.record_id) is not None:
                raise StrongroomError(Reason.ALREADY_EXISTS, field="alias")
            if len(await change.transaction.aliases_of(alias.key_id)) >= MAX_ALIASES_PER_KEY:
                raise StrongroomError(
                    Reason.LIMIT_EXCEEDED, f"a key has at most {MAX_ALIASES_PER_KEY} aliases"
                )
            await change.put(alias)
            return alias

        return await self._mutations.once(passage, AliasRecord, request_id, [alias.name, alias.key_id], work)

    @gated(Action.UPDATE_ALIAS)
    async def update(
        self, passage: Passage, name: str, key: str, etag: str = "", request_id: str = ""
    ) -> AliasRecord:
        """Point an alias to another key of the same usage and family; both keys' policies must allow it."""
        checked = names.new_alias_name(name)
        new = await self._claim_by_id(passage, key)
        old = await passage.claim(checked, Act.READ, field="alias")
        _require_alike(old, new)

        async def work(change: Change) -> AliasRecord:
            await _editable(change, new)
            current = await change.get(AliasRecord, f"{old.key.account}/{checked}")
            if current is None or current.key_id not in (old.key.key_id, new.key.key_id):
                raise StrongroomError(Reason.ETAG_MISMATCH, "the alias changed meanwhile; try again")
            check_etag(current.row_version, etag)
            changed = dataclasses.replace(
                current,
                key_id=new.key.key_id,
                updated_at=self._mutations.clock.wall_ms(),
                row_version=current.row_version + 1,
            )
            await change.put(changed)
            return changed

        return await self._mutations.once(
            passage, AliasRecord, request_id, [checked, new.key.key_id, etag], work
        )

    @gated(Action.DELETE_ALIAS)
    async def delete(self, passage: Passage, name: str, etag: str = "", request_id: str = "") -> AliasRecord:
        """Take an alias away; the key stays."""
        checked = names.new_alias_name(name)
        found = await self._mutations.earlier(passage, AliasRecord, request_id, [checked, etag])
        if found is not None:
            return found
        entry = await passage.claim(checked, Act.READ, field="alias")

        async def work(change: Change) -> AliasRecord:
            current = await change.get(AliasRecord, f"{entry.key.account}/{checked}")
            if current is None or current.key_id != entry.key.key_id:
                raise StrongroomError(Reason.ETAG_MISMATCH, "the alias changed meanwhile; try again")
            check_etag(current.row_version, etag)
            await change.delete(current)
            return current

        return await self._mutations.once(passage, AliasRecord, request_id, [checked, etag], work)

    @gated(Action.LIST_ALIASES)
    async def list_aliases(
        self, passage: Passage, key: str = "", size: int = 0, token: str = ""
    ) -> AliasPage:
        """List one key's aliases as its policy allows, or all of the account's for an administrator."""
        account = passage.caller.principal.account
        where = {"account": account}
        if key:
            entry = await passage.claim(key, Act.READ)
            where = {"key_id": entry.key.key_id}
        else:
            passage.claim_keyless()
        limit = pages.page_size(size)
        binding = (*pages.asker(passage), where.get("key_id", ""))
        after = pages.decode(token, *binding)
        found, last = await self._mutations.ledger.page(AliasRecord, where, after=after, limit=limit)
        return AliasPage(found, pages.encode(last, *binding) if last else "")


async def _editable(change: Change, entry: Entry) -> None:
    current = await change.get(KeyRecord, entry.key.key_id)
    if current is None:
        raise StrongroomError(Reason.ACCESS_DENIED)
    require(current.state, Act.EDIT)


def _require_alike(old: Entry, new: Entry) -> None:
    if old.key.account != new.key.account:
        raise invalid("key", "must be a key of the alias's own account")
    same = old.key.usage is new.key.usage and SPECS[old.key.spec].family is SPECS[new.key.spec].family
    if not same:
        text = "an alias can only move to a key of the same usage and family"
        raise StrongroomError(Reason.INVALID_KEY_USAGE, text, field="key")
