"""What one worker does for all: checkpoints, the anchor, due deletions, half-made keys, old answers.

The elected worker holds a lease; if it dies another takes over when the lease runs out. Every task is safe to
repeat and safe to run twice at once: the store's transactions decide.
"""

import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from strongroomd.custody.births import abandon, destroy_object
from strongroomd.custody.catalog import Catalog
from strongroomd.custody.clock import Clock
from strongroomd.custody.clockwatch import ClockWatch
from strongroomd.custody.diary import UNCHANGED, Diary
from strongroomd.custody.history import signature_ok
from strongroomd.custody.ledger import Change, Ledger
from strongroomd.domain.audit import Checkpoint, Head, next_checkpoint
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import Anchor
from strongroomd.domain.limits import ANSWER_LIFETIME, QUOTA_REQUEST_LIFETIME
from strongroomd.domain.records import (
    RECORD_KINDS,
    AliasRecord,
    CustodyMode,
    KeyRecord,
    KeyState,
    Record,
    VersionRecord,
    VersionState,
)
from strongroomd.domain.tokens import spelled
from strongroomd.ports import AuditLog, AuditTrail, Store, Stored, Vault
from strongroomd.telemetry import logs

R = TypeVar("R", bound=Record)
_log = logs.get("custody")
LEASE_SECONDS = 6.0
INTENT_GRACE_MS = 60_000
ANCHOR_SECONDS = 60.0
RECHECK_SECONDS = 600.0
_SWEPT = 200  # records deleted in one transaction
_SWEEPS = 10


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
        checkpoint_key: the house's public key that verifies checkpoints (DER SubjectPublicKeyInfo).
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
        checkpoint_key: bytes,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._vault = vault
        self._trail = trail
        self._clock = clock
        self._meter = meter
        self._holder = holder
        self._checkpoint_key = checkpoint_key
        self._watch = ClockWatch(store, audit, clock, meter)
        self._told = Diary(ledger, catalog, audit).told
        self._last: Checkpoint | None = None
        self._anchored: tuple[int, float] = (-1, 0.0)
        self._unscanned: list[tuple[type[Record], str]] = []
        self._rechecked: float | None = None

    async def elected(self) -> bool:
        """Take or keep the lease; on taking it over the newest checkpoint is read again."""
        held = await self._store.lease("upkeep", self._holder, self._clock.wall_ms(), LEASE_SECONDS)
        if not held:
            self._last = None
        return held

    async def checkpoint(self) -> None:
        """Sign a checkpoint if any chain grew, and move the token's anchor if the store changed.

        The clock is judged first: a checkpoint with a wrong time must not make that time look right.

        Raises:
            StrongroomError: INTEGRITY_FAILURE for a damaged chain or a newest checkpoint of another's making.
        """
        await self._trail.close_dead()
        try:
            last = await self._newest()
            await self._watch.judge(last)
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
            if newest is None:
                return None
            if not signature_ok(self._checkpoint_key, newest[0].message(), newest[1]):
                detail = "the newest checkpoint was not signed by this token"
                raise StrongroomError(Reason.INTEGRITY_FAILURE, detail=detail)
            self._last = newest[0]
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
        await self._watch.judge(await self._newest())
        if not await self._watch.distrusted():
            for stored in await self._store.due(KeyState.PENDING_DELETION.value, self._clock.wall_ms()):
                await self._guarded(self._destroy, stored)
        for stored in await self._store.unsettled():
            await self._guarded(self._resolve, stored)
        for _ in range(_SWEEPS):
            # Not with the key itself: 50,000 grants in one transaction would keep every other change waiting.
            if not await self._sweep(await self._store.grants_left(_SWEPT)):
                break

    async def _sweep(self, left: Sequence[Stored[Any]]) -> int:
        """Delete some records that mean nothing any more; returns how many."""
        if not left:
            return 0
        async with self._ledger.change() as change:
            for stored in left:
                await self._delete(change, type(stored.record), stored.record.record_id)
        return len(change.entries)

    async def _delete(self, change: Change, kind: type[Record], record_id: str) -> None:
        """Delete one record; one that was edited stays for whoever looks into it, and nobody waits for it."""
        try:
            record = await change.get(kind, record_id)
        except StrongroomError as error:
            facts = {"kind": kind.KIND, "id": record_id, "detail": error.detail}
            _log.error("record not verified", extra=facts)
            return
        if record is not None:
            await change.delete(record)

    async def _guarded(self, task: Callable[[R], Awaitable[None]], stored: Stored[R]) -> None:
        """Do a task with a record once it is verified; one bad record does not keep the others waiting.

        A record that changed since it was listed is left for the next look: what follows from the list, or
        from a listing of the token made with it, need not hold for what the record says now. (An intent that
        was listed, and had become a living version when its turn came, once lost its token object here.)
        """
        try:
            record = await self._ledger.verify(stored)
            if record.row_version == stored.record.row_version:
                await task(record)
        except StrongroomError as error:
            _log.warning("upkeep task failed", extra={"reason": error.reason.value, "detail": error.detail})

    async def _destroy(self, key: KeyRecord) -> None:
        """Make a key's tombstone: wrapped material is gone with it, resident objects follow, adopted stay."""
        async with self._told("strongroom:DestroyKey", key.key_id) as told:
            if key.mode is CustodyMode.ADOPTED:
                told["object_stays_in_token"] = True
            doomed = await self._bury(key)
            if doomed is None:
                told["outcome"] = UNCHANGED
                return
            self._vault.forget(key.key_id)
            for version in doomed:
                await self._resolve(version)

    async def _bury(self, key: KeyRecord) -> list[VersionRecord] | None:
        """Record a key's end; gives the versions whose objects must go, or None if the key is not due."""
        async with self._ledger.change() as change:
            current = await change.get(KeyRecord, key.key_id)
            if current is None or current.state is not KeyState.PENDING_DELETION:
                return None
            if not 0 < current.deletion_at <= self._clock.wall_ms():
                return None
            row_version = current.row_version + 1
            await change.put(dataclasses.replace(current, state=KeyState.DESTROYED, row_version=row_version))
            doomed = await self._end_versions(change, key)
            for stored in await change.transaction.aliases_of(key.key_id):
                alias = await change.get(AliasRecord, stored.record.record_id)
                if alias is not None:
                    await change.delete(alias)
        return doomed

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
        if not self._vault.usable(version.token):
            return  # nothing could be done, and the log would say so at every look
        old = version.created_at < self._clock.wall_ms() - INTENT_GRACE_MS
        match version.state:
            case VersionState.DESTROYING:
                await self._finish_destruction(version)
            case VersionState.INTENT if old:
                await self._undo_birth(version)

    async def _undo_birth(self, version: VersionRecord) -> None:
        async with self._told("strongroom:UndoBirth", version.key_id, version.version) as told:
            if await abandon(self._ledger, self._vault, version):
                self._meter.reconciled("intent_undone")
            else:
                told["outcome"] = UNCHANGED

    async def _finish_destruction(self, version: VersionRecord) -> None:
        async with self._told("strongroom:DestroyVersion", version.key_id, version.version):
            await destroy_object(self._ledger, self._vault, version)
            async with self._ledger.change() as change:
                current = await change.get(VersionRecord, version.record_id)
                if current is not None and current.state is VersionState.DESTROYING:
                    await change.put(_next(current, VersionState.DESTROYED))
        self._meter.reconciled("destroyed")

    async def reconcile(self) -> None:
        """Hold each token's resident objects against the store (reliability: table of reconciliation).

        Nothing is believed of a token unless its sentinel is visible; a missing object marks its version
        MISSING and is never forgotten; an object that nobody knows is reported and left alone.

        Raises:
            StrongroomError: HSM_UNAVAILABLE when a token could not be looked at, after the others were.
        """
        failure: StrongroomError | None = None
        for token in self._vault.tokens():
            try:
                await self._reconcile(token)
            except StrongroomError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    async def _reconcile(self, token: str) -> None:
        versions = await self._resident_in(token)
        objects = {found.hsm_id: found.count for found in await self._vault.list_resident(token)}
        for stored in versions:
            await self._guarded(partial(self._compare, objects), stored)
        # Read again: an intent is stored before its object is made, so an object unknown now has no record.
        known = {stored.record.hsm_id for stored in await self._resident_in(token)}
        for _ in objects.keys() - known:
            self._meter.reconciled("orphan")
            _log.error("token object without a record; left alone", token=spelled(token))

    async def _resident_in(self, token: str) -> list[Stored[VersionRecord]]:
        return [stored for stored in await self._store.resident() if stored.record.token == token]

    async def _compare(self, objects: Mapping[str, int], version: VersionRecord) -> None:
        count = objects.get(version.hsm_id, 0)
        match version.state:
            case VersionState.ACTIVE if count == 0:
                await self._mark(version, VersionState.MISSING)
                self._meter.reconciled("missing")
                _log.error("resident key's object is missing from the token")
            case VersionState.ACTIVE | VersionState.MISSING if count > 1:
                self._meter.reconciled("duplicate")
                _log.error("two token objects have one id; the key is refused")
            case VersionState.MISSING if count == 1:
                await self._mark(version, VersionState.ACTIVE)
                self._meter.reconciled("found_again")
            case VersionState.FAILED if count:
                await self._destroy_again(version)
                self._meter.reconciled("intent_undone")
            case VersionState.DESTROYED if count:
                await self._destroy_again(version)
                self._meter.reconciled("resurrected")
                _log.error("destroyed object reappeared in the token; destroyed again")

    async def _destroy_again(self, version: VersionRecord) -> None:
        async with self._told("strongroom:DestroyVersion", version.key_id, version.version):
            await destroy_object(self._ledger, self._vault, version)

    async def _mark(self, version: VersionRecord, state: VersionState) -> None:
        async with self._told("strongroom:MarkVersion", version.key_id, version.version) as told:
            told["state"] = state.value
            async with self._ledger.change() as change:
                current = await change.get(VersionRecord, version.record_id)
                if current != version:
                    told["outcome"] = UNCHANGED
                    return
                await change.put(_next(version, state))

    async def scan(self, limit: int = 500) -> int:
        """Verify the next records of every kind, those that the store has and those that it should have.

        A pass begins with the journal itself, if that was not verified in the last ten minutes. Returns how
        many records were read; starts over at the end.

        Raises:
            StrongroomError: INTEGRITY_FAILURE, when the whole batch was looked at, if any record failed.
        """
        if not self._unscanned:
            await self._recheck()
            for kind in RECORD_KINDS.values():
                names = {*await self._store.names(kind), *self._ledger.known(kind)}
                self._unscanned.extend((kind, name) for name in names)
        batch, self._unscanned = self._unscanned[:limit], self._unscanned[limit:]
        failure: StrongroomError | None = None
        for kind, name in batch:
            try:
                await self._ledger.read(kind, name)
            except StrongroomError as error:
                facts = {"kind": kind.KIND, "id": name, "detail": error.detail}
                _log.error("record not verified", extra=facts)
                failure = error
        if failure is not None:
            raise failure
        return len(batch)

    async def _recheck(self) -> None:
        now = self._clock.monotonic()
        if self._rechecked is None or now - self._rechecked >= RECHECK_SECONDS:
            await self._ledger.recheck()
            self._rechecked = now

    async def purge(self) -> None:
        """Forget idempotency answers after 24 hours, and quota requests 90 days after they were closed."""
        now = self._clock.wall_ms()
        await self._store.purge_answers(now - ANSWER_LIFETIME * 1000)
        await self._watch.judge(await self._newest())
        if await self._watch.distrusted():
            return
        for _ in range(_SWEEPS):
            old = await self._store.requests_closed(now - QUOTA_REQUEST_LIFETIME * 1000, _SWEPT)
            if not await self._sweep(old):
                break


def _grew(before: tuple[Head, ...], now: tuple[Head, ...]) -> bool:
    old = {head.origin: head.count for head in before}
    return any(head.count > old.get(head.origin, 0) for head in now)


def _next(version: VersionRecord, state: VersionState) -> VersionRecord:
    return dataclasses.replace(version, state=state, row_version=version.row_version + 1)
