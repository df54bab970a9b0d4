"""What one worker does for all: checkpoints, the anchor, due deletions, half-made keys, old answers.

The elected worker holds a lease; if it dies another takes over when the lease runs out. Every task is safe to
repeat and safe to run twice at once: the store's transactions decide.
"""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from strongroomd.custody.births import abandon
from strongroomd.custody.catalog import Catalog
from strongroomd.custody.clock import Clock
from strongroomd.custody.ledger import Change, Ledger
from strongroomd.domain.audit import Checkpoint, Head, next_checkpoint
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import Anchor
from strongroomd.domain.limits import ANSWER_LIFETIME
from strongroomd.domain.records import (
    AliasRecord,
    CustodyMode,
    KeyRecord,
    KeyState,
    VersionRecord,
    VersionState,
)
from strongroomd.ports import AuditLog, AuditTrail, Store, Vault
from strongroomd.telemetry import logs

R = TypeVar("R")
_log = logs.get("custody")
LEASE_SECONDS = 6.0
INTENT_GRACE_MS = 60_000
ANCHOR_SECONDS = 60.0


class UpkeepMeter(Protocol):
    """Counts what upkeep finds, for metrics."""

    def reconciled(self, kind: str) -> None:
        """Count one difference between store and token that was dealt with."""
        ...

    def checkpointed(self, time_ms: int) -> None:
        """Note when the newest checkpoint was signed."""
        ...

    def chain_ok(self, *, ok: bool) -> None:
        """Note whether the audit chains verify."""
        ...


class Upkeep:
    """The tasks of the elected worker.

    Args:
        ledger: protected records.
        catalog: names keys for the audit log.
        store: lists what is due.
        vault: signs, anchors, destroys.
        audit: this worker's chain, for what upkeep does to keys.
        trail: all chains.
        clock: wall time for dates.
        meter: counts.
        holder: this worker's name for the lease.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - upkeep touches every room
        self,
        ledger: Ledger,
        catalog: Catalog,
        store: Store,
        vault: Vault,
        audit: AuditLog,
        trail: AuditTrail,
        clock: Clock,
        meter: UpkeepMeter,
        holder: str,
    ) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._store = store
        self._vault = vault
        self._audit = audit
        self._trail = trail
        self._clock = clock
        self._meter = meter
        self._holder = holder
        self._last: Checkpoint | None = None
        self._anchored: tuple[int, float] = (-1, 0.0)
        self._scanned: dict[type[KeyRecord | VersionRecord], str] = {}

    async def elected(self) -> bool:
        """Take or keep the lease; on taking it over the newest checkpoint is read again."""
        held = await self._store.lease("upkeep", self._holder, self._clock.wall_ms(), LEASE_SECONDS)
        if not held:
            self._last = None
        return held

    async def checkpoint(self) -> None:
        """Sign a checkpoint if any chain grew, and move the token's anchor if the store changed."""
        await self._trail.close_dead()
        last = await self._newest()
        try:
            heads = await self._trail.heads(last)
        except StrongroomError as error:
            self._meter.chain_ok(ok=error.reason is not Reason.INTEGRITY_FAILURE)
            raise
        self._meter.chain_ok(ok=True)
        if last is None or _grew(last.heads, heads):
            last = await self._sign(last, heads)
        await self._move_anchor(last)

    async def _newest(self) -> Checkpoint | None:
        if self._last is None:
            newest = await self._trail.newest()
            self._last = newest[0] if newest else None
        return self._last

    async def _sign(self, before: Checkpoint | None, heads: tuple[Head, ...]) -> Checkpoint:
        checkpoint = next_checkpoint(
            before,
            heads,
            time=self._clock.wall_ms(),
            journal_sequence=self._ledger.sequence,
            journal_head=self._ledger.head,
        )
        self._last = None
        await self._trail.append(checkpoint, await self._vault.sign_checkpoint(checkpoint.message()))
        self._last = checkpoint
        self._meter.checkpointed(checkpoint.time)
        return checkpoint

    async def _move_anchor(self, checkpoint: Checkpoint) -> None:
        sequence, at = self._anchored
        now = self._clock.monotonic()
        if sequence == self._ledger.sequence and now - at < ANCHOR_SECONDS:
            return
        anchor = Anchor(self._ledger.sequence, self._ledger.head, checkpoint.number, checkpoint.digest())
        await self._vault.write_anchor(anchor)
        self._anchored = (anchor.sequence, now)

    async def settle(self) -> None:
        """Destroy keys whose deletion fell due; finish or undo what a dead worker left half done."""
        for stored in await self._store.due(KeyState.PENDING_DELETION.value, self._clock.wall_ms()):
            key = await self._ledger.verify(stored)
            await self._guarded(self._destroy, key)
        for stored in await self._store.unsettled():
            version = await self._ledger.verify(stored)
            await self._guarded(self._resolve, version)

    async def _guarded(self, task: Callable[[R], Awaitable[None]], record: R) -> None:
        try:
            await task(record)
        except StrongroomError as error:
            _log.warning("upkeep task failed", reason=error.reason.value, detail=error.detail)

    async def _destroy(self, key: KeyRecord) -> None:
        """Make a key's tombstone: wrapped material is gone with this; resident objects follow."""
        await self._tell(key, "intent", "PENDING")
        async with self._ledger.change() as change:
            current = await change.get(KeyRecord, key.key_id)
            if current is None or current.state is not KeyState.PENDING_DELETION:
                return
            if not 0 < current.deletion_at <= self._clock.wall_ms():
                return
            row_version = current.row_version + 1
            await change.put(dataclasses.replace(current, state=KeyState.DESTROYED, row_version=row_version))
            doomed = await self._end_versions(change, key)
            for stored in await change.transaction.aliases_of(key.key_id):
                alias = await change.get(AliasRecord, stored.record.record_id)
                if alias is not None:
                    await change.delete(alias)
        self._vault.forget(key.key_id)
        for version in doomed:
            await self._resolve(version)
        await self._tell(key, "outcome", "OK")

    async def _end_versions(self, change: Change, key: KeyRecord) -> list[VersionRecord]:
        doomed = []
        for number in range(1, key.current_version + 1):
            version = await change.get(VersionRecord, f"{key.key_id}/{number}")
            if version is None or version.state not in (VersionState.ACTIVE, VersionState.MISSING):
                continue
            resident = key.mode is CustodyMode.RESIDENT
            state = VersionState.DESTROYING if resident else VersionState.DESTROYED
            ended = dataclasses.replace(
                version, state=state, blob=b"", recovery_blob=b"", row_version=version.row_version + 1
            )
            await change.put(ended)
            if resident:
                doomed.append(ended)
        return doomed

    async def _resolve(self, version: VersionRecord) -> None:
        if version.state is VersionState.INTENT:
            if version.created_at < self._clock.wall_ms() - INTENT_GRACE_MS:
                await abandon(self._ledger, self._vault, version)
                self._meter.reconciled("intent_undone")
            return
        await self._vault.destroy_resident(version.hsm_id)
        async with self._ledger.change() as change:
            current = await change.get(VersionRecord, version.record_id)
            if current is not None and current.state is VersionState.DESTROYING:
                row_version = current.row_version + 1
                await change.put(
                    dataclasses.replace(current, state=VersionState.DESTROYED, row_version=row_version)
                )
        self._meter.reconciled("destroyed")

    async def _tell(self, key: KeyRecord, kind: str, outcome: str) -> None:
        arn = self._catalog.realm.key_arn(key.key_id, key.account)
        record = {"kind": kind, "action": "strongroom:DestroyKey", "principal": "upkeep", "key": arn}
        await self._audit.write({**record, "outcome": outcome})

    async def reconcile(self) -> None:
        """Hold the token's resident objects against the store (reliability: table of reconciliation).

        Nothing is believed unless the sentinel is visible; a missing object marks its version MISSING and is
        never forgotten; an object that nobody knows is reported and left alone.
        """
        objects = {found.hsm_id: found.count for found in await self._vault.list_resident()}
        known: set[str] = set()
        for stored in await self._store.resident():
            version = await self._ledger.verify(stored)
            known.add(version.hsm_id)
            await self._guarded(self._compare, (version, objects.get(version.hsm_id, 0)))
        for _ in objects.keys() - known:
            self._meter.reconciled("orphan")
            _log.error("token object without a record; left alone")

    async def _compare(self, found: tuple[VersionRecord, int]) -> None:
        version, count = found
        if version.state is VersionState.ACTIVE and count == 0:
            await self._mark(version, VersionState.MISSING)
            self._meter.reconciled("missing")
            _log.error("resident key's object is missing from the token")
        elif version.state is VersionState.MISSING and count == 1:
            await self._mark(version, VersionState.ACTIVE)
            self._meter.reconciled("found_again")
        elif version.state in _GONE and count:
            await self._vault.destroy_resident(version.hsm_id)
            self._meter.reconciled("resurrected")
            _log.error("destroyed object reappeared in the token; destroyed again")

    async def _mark(self, version: VersionRecord, state: VersionState) -> None:
        async with self._ledger.change() as change:
            current = await change.get(VersionRecord, version.record_id)
            if current == version:
                await change.put(
                    dataclasses.replace(current, state=state, row_version=current.row_version + 1)
                )

    async def scan(self, limit: int = 500) -> int:
        """Verify the next records of keys and versions; returns how many. Starts over at the end."""
        seen = 0
        for kind in (KeyRecord, VersionRecord):
            after = self._scanned.get(kind, "")
            batch = await self._store.page(kind, after=after, limit=limit, where={})
            for stored in batch:
                await self._ledger.verify(stored)
            self._scanned[kind] = batch[-1].record.record_id if len(batch) == limit else ""
            seen += len(batch)
        return seen

    async def purge(self) -> None:
        """Forget idempotency answers that are over 24 hours old."""
        await self._store.purge_answers(self._clock.wall_ms() - ANSWER_LIFETIME * 1000)


_GONE = frozenset({VersionState.DESTROYED, VersionState.FAILED})


def _grew(before: tuple[Head, ...], now: tuple[Head, ...]) -> bool:
    old = {head.origin: head.count for head in before}
    return any(head.count > old.get(head.origin, 0) for head in now)
