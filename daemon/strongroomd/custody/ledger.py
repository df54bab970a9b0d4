"""Protected records: every read is verified, every change is MACed, journalled and atomic.

A record is believed only if the HSM makes the same MAC over it and the journal's newest entry for it carries
that MAC. The journal is verified from its genesis at start and followed from there; its head is compared with
the token's anchor, so that neither a row nor the whole store can be put back to an older copy unnoticed.
"""

import asyncio
import hmac
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar, cast

from strongroomd.custody.scribe import Scribe
from strongroomd.domain import journal
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.events import BY_DAEMON, Cause, Draft
from strongroomd.domain.happenings import happenings, key_of
from strongroomd.domain.housekeys import House
from strongroomd.domain.keys import Anchor
from strongroomd.domain.records import HouseRecord, KeyRecord, Record, canonical
from strongroomd.ports import JournalEntry, Store, Stored, Transaction, Vault

R = TypeVar("R", bound=Record)
_PAGE = 1_000
_ATTEMPTS = 3


class LedgerMeter(Protocol):
    """Hears what the ledger finds, for metrics."""

    def failed(self) -> None:
        """Count one integrity failure."""
        ...

    def changed(self, seconds: float) -> None:
        """Time one committed change."""
        ...


class Ledger:
    """Verified access to the store's protected records.

    Args:
        store: where the records are.
        vault: makes the MACs.
        meter: hears of integrity failures and of changes, for metrics and alerts.
        scribe: writes the event of each change; None where nobody is there yet to hear of it (founding).

    Attributes:
        stale_after: seconds without news after which nothing is decided from memory.
    """

    def __init__(
        self, store: Store, vault: Vault, meter: LedgerMeter | None = None, scribe: Scribe | None = None
    ) -> None:
        self.scribe = scribe
        self._store = store
        self._vault = vault
        self._meter = meter
        self._latest: dict[tuple[str, str], tuple[int, bytes]] = {}
        self._watchers: list[Callable[[JournalEntry], None]] = []
        self._changing = asyncio.Lock()
        self._following = asyncio.Lock()
        self._next_look: asyncio.Task[None] | None = None
        self.stale_after = math.inf
        self._followed = time.monotonic()
        self.sequence = 0
        self.head = journal.GENESIS

    def bound_staleness(self, seconds: float) -> None:
        """Let nothing be decided from memory once following has failed for so long."""
        self.stale_after = seconds

    def require_fresh(self) -> None:
        """Refuse while what others changed cannot be known. Raises STORE_UNAVAILABLE."""
        if time.monotonic() - self._followed > self.stale_after:
            detail = "what others changed is not known for too long"
            raise StrongroomError(Reason.STORE_UNAVAILABLE, retry_after=1.0, detail=detail)

    def watch(self, watcher: Callable[[JournalEntry], None]) -> None:
        """Call `watcher` for each change, whoever made it, once it is committed and verified."""
        self._watchers.append(watcher)

    async def start(self) -> None:
        """Verify the whole journal and hold it against the token's anchor.

        Raises:
            StrongroomError: INTEGRITY_FAILURE when the journal is damaged or older than the token remembers.
        """
        await self.start_from(await self._vault.read_anchor())

    async def start_from(self, anchor: Anchor | None) -> None:
        """Verify the whole journal and hold it against an anchor: one that was read before a copy was made.

        Raises:
            StrongroomError: as `start`.
        """
        async with self._following:
            await self._read_on(anchor)
        if anchor is None and self.sequence:
            raise self._failure("the token has lost its anchor, or the store belongs to another token")
        if anchor is not None and self.sequence < anchor.sequence:
            raise self._failure("the store is older than the token's anchor: it was restored from a copy")

    async def follow(self) -> None:
        """Read and verify what others changed since; a disabled key stops working by this.

        However many ask at once, there is one look under way, and one more that all others share: it begins
        after they asked, so that each sees what was committed before.
        """
        if self._next_look is None or self._next_look.done():
            self._next_look = asyncio.ensure_future(self._look())
            self._next_look.add_done_callback(_retrieve)
        await asyncio.shield(self._next_look)

    async def _look(self) -> None:
        async with self._following:
            self._next_look = None  # whoever asks from now on may need to see more
            await self._read_on(None)

    async def _read_on(self, anchor: Anchor | None) -> None:
        begun = time.monotonic()
        while entries := await self._store.journal(self.sequence, _PAGE):
            await self._verify(entries, anchor)
        self._followed = begun

    async def recheck(self) -> None:
        """Verify the whole journal again, from its genesis to what was learnt of it so far.

        Raises:
            StrongroomError: INTEGRITY_FAILURE when an entry was edited or removed since.
        """
        until, learnt = self.sequence, self.head
        sequence, head = 0, journal.GENESIS
        while sequence < until:
            entries = await self._store.journal(sequence, min(_PAGE, until - sequence))
            if not entries:
                raise self._failure("the journal is shorter than it was")
            sequence, head = self._chained(sequence, head, entries)
        if not hmac.compare_digest(head, learnt):
            raise self._failure("the journal is not the one that was followed")

    def _chained(
        self, sequence: int, head: bytes, entries: list[JournalEntry], anchor: Anchor | None = None
    ) -> tuple[int, bytes]:
        """Follow the chain through some entries; returns the new sequence number and head."""
        for entry in entries:
            sequence += 1
            head = journal.next_head(
                head, entry.sequence, entry.kind, entry.record_id, entry.row_version, entry.row_mac
            )
            if entry.sequence != sequence or not hmac.compare_digest(head, entry.head):
                raise self._failure("the journal's chain is broken")
            if anchor is not None and sequence == anchor.sequence and head != anchor.head:
                raise self._failure("the journal is not the one that the token remembers")
        return sequence, head

    async def _verify(self, entries: list[JournalEntry], anchor: Anchor | None) -> None:
        sequence, head = self._chained(self.sequence, self.head, entries, anchor)
        if not await self._sealed(journal.head_bytes(sequence, head), entries[-1].head_mac):
            raise self._failure("the journal's head was not made by this token")
        for entry in entries:
            self._learn(entry)

    def _learn(self, entry: JournalEntry) -> None:
        self.sequence, self.head = entry.sequence, entry.head
        before = self._latest.get((entry.kind, entry.record_id), (0, b""))
        self._latest[entry.kind, entry.record_id] = (entry.row_version, entry.row_mac)
        if before[0] == entry.row_version != 0:
            return  # resealed: it says what it said
        for watcher in self._watchers:
            watcher(entry)

    def was_removed(self, kind: type[Record], record_id: str) -> bool:
        """Say whether there was such a record, as the journal has it, and is none now."""
        return self._latest.get((kind.KIND, record_id), (1, b""))[0] == 0

    def known(self, kind: type[Record]) -> list[str]:
        """List the ids of the records of a kind that exist, as the journal has it."""
        return [name for (k, name), (version, _) in self._latest.items() if k == kind.KIND and version]

    async def read(self, kind: type[R], record_id: str) -> R | None:
        """Read one record and verify it.

        Returns:
            The record, or None if there is none and the journal agrees.

        Raises:
            StrongroomError: INTEGRITY_FAILURE for a record that was edited, put back or removed.
        """
        for _ in range(_ATTEMPTS):
            stored = await self._store.get(kind, record_id)
            if await self._believed(kind.KIND, record_id, stored):
                return stored.record if stored else None
            await self.follow()
        raise self._failure(f"{kind.KIND} record does not match its MAC or the journal")

    async def verify(self, stored: Stored[R]) -> R:
        """Verify a record that was read in a page; re-reads it if it changed meanwhile."""
        record = stored.record
        if await self._believed(record.KIND, record.record_id, stored):
            return record
        again = await self.read(type(record), record.record_id)
        if again is None:
            raise StrongroomError(Reason.NOT_FOUND)
        return again

    async def page(
        self, kind: type[R], where: dict[str, str], *, after: str, limit: int
    ) -> tuple[list[R], str]:
        """Read and verify at most `limit` records behind the id `after`, but for those that went meanwhile.

        Returns:
            The records, and the id behind which the next page begins, empty at the end.
        """
        stored = await self._store.page(kind, after=after, limit=limit + 1, where=where)
        found: list[R] = []
        for each in stored[:limit]:
            record: R | None = each.record
            if not await self._believed(kind.KIND, each.record.record_id, each):
                record = await self.read(kind, each.record.record_id)
            if record is not None:
                found.append(record)
        return found, stored[limit - 1].record.record_id if len(stored) > limit else ""

    async def _believed(self, kind: str, record_id: str, stored: Stored[Any] | None) -> bool:
        version, mac = self._latest.get((kind, record_id), (0, b""))
        if stored is None:
            return version == 0
        if stored.record.row_version != version or not hmac.compare_digest(stored.mac, mac):
            return False
        return await self._sealed(canonical(stored.record), mac)

    async def _sealed(self, data: bytes, mac: bytes) -> bool:
        """Say whether a MAC is the house's, by a key that another worker may have made just now."""
        if not self._vault.knows_mac_key(mac):
            found = await self._store.all(HouseRecord)
            keys = [stored.record for stored in found if stored.record.role == House.ROW_MAC.value]
            await self._vault.know_mac_keys(keys)
        return await self._vault.record_mac_matches(data, mac)

    @asynccontextmanager
    async def change(self, cause: Cause = BY_DAEMON) -> AsyncIterator["Change"]:
        """Begin an atomic change; it commits when the block ends and is rolled back if the block raises.

        Args:
            cause: whom the events of the change name.
        """
        start = time.perf_counter()
        async with self._changing:
            async with self._store.transaction() as transaction:
                await self.follow()
                change = Change(self, self._vault, transaction, cause.action)
                yield change
                events = await self.scribe.write(transaction, change.drafts, cause) if self.scribe else []
            if self.scribe is not None:
                self.scribe.committed(events)
            async with self._following:
                for entry in change.entries:
                    if entry.sequence == self.sequence + 1:
                        self._learn(entry)
        if self._meter is not None:
            self._meter.changed(time.perf_counter() - start)

    def _failure(self, detail: str) -> StrongroomError:
        if self._meter is not None:
            self._meter.failed()
        return StrongroomError(Reason.INTEGRITY_FAILURE, detail=detail)


def _retrieve(look: asyncio.Task[None]) -> None:
    """Take note of how a look ended, though everybody who waited for it may have gone."""
    if not look.cancelled():
        look.exception()


class Change:
    """One transaction's protected reads and writes; made by `Ledger.change`.

    Attributes:
        transaction: the store's.
        entries: the journal entries made so far.
        drafts: the events that the changes so far are.
    """

    def __init__(self, ledger: Ledger, vault: Vault, transaction: Transaction, action: str = "") -> None:
        self._action = action
        self.drafts: list[Draft] = []
        self._seen: dict[tuple[str, str], Record | None] = {}
        self._written: dict[tuple[str, str], Record | None] = {}
        self._ledger = ledger
        self._vault = vault
        self.transaction = transaction
        self.entries: list[JournalEntry] = []
        self._sequence = ledger.sequence
        self._head = ledger.head

    async def get(self, kind: type[R], record_id: str) -> R | None:
        """Read one record inside the transaction, verified, or as this change wrote it itself."""
        if (kind.KIND, record_id) in self._written:
            return cast("R | None", self._written[kind.KIND, record_id])
        stored = await self.transaction.get(kind, record_id)
        if not await self._ledger._believed(kind.KIND, record_id, stored):  # noqa: SLF001 - one room, one thought
            raise self._ledger._failure(f"{kind.KIND} record does not match its MAC or the journal")  # noqa: SLF001
        record = stored.record if stored else None
        self._seen[kind.KIND, record_id] = record
        return record

    async def put(self, record: Record) -> bytes:
        """Write a record whose row_version the caller has raised (1 for a new one); returns its MAC."""
        before = await self._before(record)
        mac = await self._vault.record_mac(canonical(record))
        await self.transaction.put(record, mac)
        await self._append(record, record.row_version, mac)
        self._written[record.KIND, record.record_id] = record
        await self._note(before, record)
        return mac

    async def reseal(self, kind: type[R], record_id: str) -> bool:
        """Give a record a MAC by the newest row MAC key; nothing of it changes, and nobody is told.

        Returns False for one that is gone, or has such a MAC already.
        """
        stored = await self.transaction.get(kind, record_id)
        if stored is None or stored.mac.startswith(self._vault.mac_tag):
            return False
        record = await self.get(kind, record_id)
        if record is None:
            return False
        mac = await self._vault.record_mac(canonical(record))
        await self.transaction.reseal(record, mac)
        await self._append(record, record.row_version, mac)
        return True

    async def delete(self, record: Record) -> None:
        """Remove a record; the journal remembers that it is gone."""
        mac = await self._vault.record_mac(canonical(record, deleted=True))
        await self.transaction.delete(record)
        await self._append(record, 0, mac)
        self._written[record.KIND, record.record_id] = None
        await self._note(record, None)

    async def _before(self, record: Record) -> Record | None:
        """Give what a record is about to replace, as this transaction knows it or reads it."""
        place = (record.KIND, record.record_id)
        if record.row_version == 1 or place in self._seen:
            return self._seen.get(place)
        stored = await self.transaction.get(type(record), record.record_id)
        return stored.record if stored else None

    async def _note(self, before: Record | None, after: Record | None) -> None:
        """Draft the events of a change of one record."""
        record = after or before
        scribe = self._ledger.scribe
        if record is None or scribe is None:
            return
        self._seen[record.KIND, record.record_id] = after
        key_id = key_of(record)
        account = await self._account(record, key_id) if key_id else ""
        self.drafts += happenings(
            before, after, lambda name: scribe.realm.key_arn(name, account), self._action
        )

    async def _account(self, record: Record, key_id: str) -> str:
        found = getattr(record, "account", "")
        if found:
            return str(found)
        key = self._seen.get((KeyRecord.KIND, key_id))
        if key is None:
            stored = await self.transaction.get(KeyRecord, key_id)
            key = stored.record if stored else None
        return key.account if isinstance(key, KeyRecord) else ""

    async def _append(self, record: Record, row_version: int, mac: bytes) -> None:
        sequence = self._sequence + 1
        head = journal.next_head(self._head, sequence, record.KIND, record.record_id, row_version, mac)
        head_mac = await self._vault.record_mac(journal.head_bytes(sequence, head))
        entry = JournalEntry(sequence, record.KIND, record.record_id, row_version, mac, head, head_mac)
        await self.transaction.append(entry)
        self.entries.append(entry)
        self._sequence, self._head = sequence, head
