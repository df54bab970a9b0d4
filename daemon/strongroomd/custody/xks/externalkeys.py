"""Use cases of external keys: which of the daemon's keys a store uses, under which ids.

Adding a key lends it to the store, as a grant would: the key's policy must let the caller do so
(kms:CreateGrant, with the store as grantee). From then on the policy can take the key away again by denying,
and whoever administers the store by removing it.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from strongroomd.custody import bringing, pages
from strongroomd.custody.catalog import Entry
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.keyforms import check_etag
from strongroomd.custody.ledger import Change
from strongroomd.custody.passage import Passage
from strongroomd.custody.registrar import put_next
from strongroomd.custody.xks.stores import StoreDesk, current
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.grants import NewGrant
from strongroomd.domain.lifecycle import Act
from strongroomd.domain.xks import names
from strongroomd.domain.xks.records import MAX_EXTERNAL_KEYS, ExternalKeyRecord, Pinning, StoreRecord


@dataclass(frozen=True, slots=True)
class KeyForm:
    """What an external key is to be like; None in an update means as it is.

    Attributes:
        encrypts, decrypts: what the store may do with the key.
        pinning: how it is bound to a KMS key. Setting it anew forgets the first use.
        kms_key_arn: the KMS key, for `Pinning.FIXED` alone.
        compatible: open ciphertexts of AWS's sample proxy, too.
    """

    encrypts: bool | None = None
    decrypts: bool | None = None
    pinning: Pinning | None = None
    kms_key_arn: str | None = None
    compatible: bool | None = None

    def check(self) -> None:
        """Refuse what no external key may have. Raises INVALID_FIELD, FIELD_TOO_LARGE."""
        arn = self.kms_key_arn or ""
        if arn:
            names.kms_key_arn(arn)
        if (self.pinning is Pinning.FIXED) != bool(arn):
            raise invalid("kms_key_arn", "must be given for the pinning FIXED, and for no other")

    def applied(self, record: ExternalKeyRecord) -> ExternalKeyRecord:
        """Give a record with what the form says."""
        switches = {name: getattr(self, name) for name in ("encrypts", "decrypts", "compatible")}
        changed = dataclasses.replace(record, **{k: v for k, v in switches.items() if v is not None})
        if self.pinning is None:
            return changed
        return dataclasses.replace(changed, pinning=self.pinning, kms_key_arn=self.kms_key_arn or "")


@dataclass(frozen=True, slots=True)
class ExternalKey:
    """An external key, and the ARN of the key that it stands for.

    Attributes:
        key_arn: empty where the key's record cannot be believed.
    """

    record: ExternalKeyRecord
    key_arn: str


@dataclass(frozen=True, slots=True)
class ExternalKeyPage:
    """External keys of one page, and the token of the next (empty at the end)."""

    keys: list[ExternalKey]
    next_token: str


class ExternalKeys(UseCases):
    """External keys' management, by administrators of their store's account."""

    def __init__(self, gate: Gate, desk: StoreDesk) -> None:
        super().__init__(gate)
        self._desk = desk

    @gated(Action.ADD_EXTERNAL_KEY)
    async def add(
        self,
        passage: Passage,
        store: str,
        external_key_id: str,
        key: str,
        form: KeyForm,
        request_id: str = "",
    ) -> ExternalKey:
        """Let a store use a key under an external id.

        Args:
            passage: the call.
            store: the store's id.
            external_key_id: unique in the store; AWS calls it XksKeyId.
            key: any name of a key of the daemon.
            form: the rest; None means: encrypts and decrypts, bound to no KMS key, not compatible.
            request_id: the caller's idempotency key.

        Raises:
            StrongroomError: ALREADY_EXISTS, LIMIT_EXCEEDED, and what the key's policy and state refuse.
        """
        form.check()
        name = names.external_key_id(external_key_id)
        claimed = await self._desk.claim(passage, store)
        passage.facts["external_key"] = name
        entry = await self._lend(passage, claimed, key)
        work = partial(_add, passage, form.applied(self._draft(claimed, name, entry)))
        bound = [claimed.store_id, name, entry.key.key_id, form]
        return await self._named(await self._desk.once(passage, ExternalKeyRecord, request_id, bound, work))

    async def _lend(self, passage: Passage, store: StoreRecord, key: str) -> Entry:
        """Claim a key in order to lend it: the policy sees a grant to the store."""
        operations = frozenset({Action.ENCRYPT, Action.DECRYPT, Action.DESCRIBE_KEY})
        wanted = NewGrant(names.store_arn(store.account, store.store_id), operations)
        bring = partial(bringing.new_grant, wanted, False)  # noqa: FBT003 - bound by position
        return await passage.claim(key, Act.EDIT, action=Action.CREATE_GRANT, bring=bring)

    def _draft(self, store: StoreRecord, name: str, entry: Entry) -> ExternalKeyRecord:
        return ExternalKeyRecord(
            store_id=store.store_id,
            external_key_id=name,
            account=store.account,
            key_id=entry.key.key_id,
            token=entry.key.token,
            blocked=False,
            encrypts=True,
            decrypts=True,
            pinning=Pinning.NONE,
            kms_key_arn="",
            compatible=False,
            created_at=self._desk.mutations.clock.wall_ms(),
        )

    async def _named(self, record: ExternalKeyRecord) -> ExternalKey:
        """Add the key's ARN; that a key is damaged stops neither looking at the store nor taking it out."""
        try:
            entry = await self.gate.catalog.entry(record.key_id)
        except StrongroomError as error:
            if error.reason is not Reason.INTEGRITY_FAILURE:
                raise
            return ExternalKey(record, "")
        return ExternalKey(record, entry.arn)

    @gated(Action.DESCRIBE_EXTERNAL_KEY)
    async def describe(self, passage: Passage, store: str, external_key_id: str) -> ExternalKey:
        """Describe an external key. Raises KEY_NOT_FOUND."""
        name = names.external_key_id(external_key_id)
        claimed = await self._desk.claim(passage, store)
        record = await self._desk.mutations.ledger.read(ExternalKeyRecord, f"{claimed.store_id}/{name}")
        return await self._named(_known(record))

    @gated(Action.LIST_EXTERNAL_KEYS)
    async def list_keys(
        self, passage: Passage, store: str, size: int = 0, token: str = ""
    ) -> ExternalKeyPage:
        """List a store's external keys, in order of their ids."""
        claimed = await self._desk.claim(passage, store)
        limit, binding = pages.page_size(size), (*pages.asker(passage), claimed.store_id)
        after = pages.decode(token, *binding)
        ledger, where = self._desk.mutations.ledger, {"store_id": claimed.store_id}
        found, last = await ledger.page(ExternalKeyRecord, where, after=after, limit=limit)
        keys = [await self._named(record) for record in found]
        return ExternalKeyPage(keys, pages.encode(last, *binding) if last else "")

    @gated(Action.UPDATE_EXTERNAL_KEY)
    async def update(
        self,
        passage: Passage,
        store: str,
        external_key_id: str,
        form: KeyForm,
        etag: str = "",
        request_id: str = "",
    ) -> ExternalKey:
        """Change what a store may do with a key, and its pinning; in force within a second everywhere."""
        form.check()
        place = (store, external_key_id)
        return await self._change(passage, place, form.applied, etag, request_id, form)

    @gated(Action.BLOCK_EXTERNAL_KEY)
    async def block(
        self, passage: Passage, store: str, external_key_id: str, etag: str = "", request_id: str = ""
    ) -> ExternalKey:
        """Refuse every use of an external key, within a second everywhere; KMS hears that it is disabled."""
        place = (store, external_key_id)
        return await self._change(passage, place, _blocked, etag, request_id, "")

    @gated(Action.UNBLOCK_EXTERNAL_KEY)
    async def unblock(
        self, passage: Passage, store: str, external_key_id: str, etag: str = "", request_id: str = ""
    ) -> ExternalKey:
        """Let an external key be used again."""
        place = (store, external_key_id)
        return await self._change(passage, place, _unblocked, etag, request_id, "")

    async def _change(
        self,
        passage: Passage,
        place: tuple[str, str],
        edit: Callable[[ExternalKeyRecord], ExternalKeyRecord],
        etag: str,
        request_id: str,
        arguments: object,
    ) -> ExternalKey:
        claimed, record_id = await self._claim(passage, *place)

        async def work(change: Change) -> ExternalKeyRecord:
            record = await _current(change, record_id, etag)
            edited = edit(record)
            changed: ExternalKeyRecord = record if edited == record else await put_next(change, edited)
            return changed

        bound = [claimed.store_id, record_id, arguments, etag]
        return await self._named(await self._desk.once(passage, ExternalKeyRecord, request_id, bound, work))

    async def _claim(self, passage: Passage, store: str, external_key_id: str) -> tuple[StoreRecord, str]:
        name = names.external_key_id(external_key_id)
        claimed = await self._desk.claim(passage, store)
        passage.facts["external_key"] = name
        return claimed, f"{claimed.store_id}/{name}"

    @gated(Action.REMOVE_EXTERNAL_KEY)
    async def remove(
        self, passage: Passage, store: str, external_key_id: str, etag: str = "", request_id: str = ""
    ) -> ExternalKey:
        """Take a key from a store; the key itself stays, and opens what it encrypted if it is added again."""
        claimed, record_id = await self._claim(passage, store, external_key_id)

        async def work(change: Change) -> ExternalKeyRecord:
            record = await _current(change, record_id, etag)
            await change.delete(record)
            return record

        bound = [claimed.store_id, record_id, etag]
        return await self._named(await self._desk.once(passage, ExternalKeyRecord, request_id, bound, work))


async def _add(passage: Passage, draft: ExternalKeyRecord, change: Change) -> ExternalKeyRecord:
    """Store an external key that is new, in a store that has room for one more."""
    await current(passage, change, draft.store_id)
    if await change.get(ExternalKeyRecord, draft.record_id) is not None:
        raise StrongroomError(Reason.ALREADY_EXISTS, field="external_key_id")
    where = {"store_id": draft.store_id}
    if await change.transaction.how_many(ExternalKeyRecord, where) >= MAX_EXTERNAL_KEYS:
        text = f"a key store has at most {MAX_EXTERNAL_KEYS} external keys"
        raise StrongroomError(Reason.LIMIT_EXCEEDED, text)
    await change.put(draft)
    return draft


async def _current(change: Change, record_id: str, etag: str) -> ExternalKeyRecord:
    record = _known(await change.get(ExternalKeyRecord, record_id))
    check_etag(record.row_version, etag)
    return record


def _known(record: ExternalKeyRecord | None) -> ExternalKeyRecord:
    if record is None:
        raise StrongroomError(Reason.KEY_NOT_FOUND, field="external_key_id")
    return record


def _blocked(record: ExternalKeyRecord) -> ExternalKeyRecord:
    return dataclasses.replace(record, blocked=True)


def _unblocked(record: ExternalKeyRecord) -> ExternalKeyRecord:
    return dataclasses.replace(record, blocked=False)
