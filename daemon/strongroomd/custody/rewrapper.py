"""The elected worker's part of a re-wrap: batch by batch, each one transaction, at the speed asked for.

What was moved is in the store with the progress that counts it, or neither: a kill costs at most the token's
work of one batch. Readers go on with the old blob, which stays right, until the journal tells them.
"""

import dataclasses
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Protocol

from strongroomd.custody.clock import Clock
from strongroomd.custody.housekeys import house_records
from strongroomd.custody.ledger import Ledger
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.housekeys import House, older
from strongroomd.domain.keys import BoundVersion, Material
from strongroomd.domain.records import (
    WITH_MATERIAL,
    KeyRecord,
    KeyState,
    RewrapRecord,
    RewrapState,
    VersionRecord,
    VersionState,
)
from strongroomd.domain.tokens import spelled
from strongroomd.ports import AuditLog, Store, Stored, Vault
from strongroomd.telemetry import failpoints, logs

_log = logs.get("custody")
BATCH: Final = 25
"""Versions moved in one transaction: some 20 ms, in which other changes wait."""
_PATIENCE: Final = 10.0  # seconds for one version in the token
_UNMOVABLE: Final = frozenset({Reason.KEY_UNAVAILABLE, Reason.INTEGRITY_FAILURE, Reason.INTERNAL})


class RewrapMeter(Protocol):
    """Hears how a re-wrap goes, for metrics."""

    def moved(self, versions: int) -> None:
        """Count versions that moved."""
        ...


class Rewrapper:
    """Moves versions; a task of the elected worker, safe to repeat and to run twice.

    Args:
        ledger: protected records.
        store: lists versions by their KEK.
        vault: wraps anew.
        audit: this worker's chain.
        clock: when it ended.
        meter: counts.
        sleep: waits; seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        vault: Vault,
        audit: AuditLog,
        clock: Clock,
        meter: RewrapMeter,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._vault = vault
        self._audit = audit
        self._clock = clock
        self._meter = meter
        self._sleep = sleep
        self._passes: dict[str, _Pass] = {}

    async def round(self) -> None:
        """Go on, for about a second, with every token's re-wrap that runs.

        Raises:
            StrongroomError: what store, token or audit log raise; it is tried again with the next round.
        """
        for token in self._vault.tokens():
            if self._vault.usable(token):
                await self._go_on(token)

    async def _go_on(self, token: str) -> None:
        begun, done = self._clock.monotonic(), 0
        while True:
            job = await self._ledger.read(RewrapRecord, spelled(token))
            if job is None or job.state is not RewrapState.RUNNING:
                self._passes.pop(token, None)
                return
            if done >= job.per_second:
                return
            done += await self._step(job, min(BATCH, job.per_second - done))
            ahead = done / job.per_second - (self._clock.monotonic() - begun)
            if ahead > 0:
                await self._sleep(ahead)

    async def _step(self, job: RewrapRecord, limit: int) -> int:
        """Move the next versions, at most so many, or end the re-wrap; returns how many were looked at."""
        this = self._passes.setdefault(job.token, _Pass(job.target))
        if this.target != job.target:
            this = self._passes[job.token] = _Pass(job.target)
        batch = await self._next(job, this, limit)
        if not batch:
            await self._turn(job, this)
            return limit
        failpoints.reach("rewrap.1")
        moved = [pair async for pair in self._moved(this, batch)]
        failpoints.reach("rewrap.2")
        if await self._record(job, this, moved):
            failpoints.reach("rewrap.4")
            this.after = batch[-1].record.record_id
            this.moved += len(moved)
            self._meter.moved(len(moved))
        return len(batch)

    async def _next(self, job: RewrapRecord, this: "_Pass", limit: int) -> list[Stored[VersionRecord]]:
        """Find the next versions under older KEKs, those whose KEK was looked through being left behind."""
        house = await house_records(self._ledger, self._store)
        mine = [k for k in house if k.role == House.KEK_EXPORTABLE.value and k.token == job.token]
        for kek in older(mine, job.target):
            for state in WITH_MATERIAL:
                where = {"kek_id": kek.hsm_id, "state": state.value}
                if (kek.hsm_id, state) in this.done:
                    continue
                found = await self._store.page(VersionRecord, after=this.after, limit=limit, where=where)
                if found:
                    return found
                this.after = ""
                this.done.add((kek.hsm_id, state))
        return []

    async def _turn(self, job: RewrapRecord, this: "_Pass") -> None:
        """Begin another pass, for what came under an older KEK meanwhile; end after an idle one."""
        if this.moved:
            self._passes[job.token] = _Pass(job.target)
            return
        ended = self._clock.wall_ms()
        changes: dict[str, Any] = {"state": RewrapState.DONE, "ended_at": ended, "failed": len(this.failed)}
        await self._note(job, changes)
        self._passes.pop(job.token, None)
        _log.info("re-wrap done", token=spelled(job.token), failed=len(this.failed))

    async def _moved(
        self, this: "_Pass", batch: list[Stored[VersionRecord]]
    ) -> AsyncIterator[tuple[VersionRecord, Material]]:
        """Have the token wrap each version anew; one that cannot be moved keeps no other waiting."""
        for stored in batch:
            try:
                version = await self._ledger.verify(stored)
                bound = await self._bound(version)
                if bound is not None:
                    yield version, await self._anew(bound)
            except StrongroomError as error:
                if error.reason not in _UNMOVABLE:
                    raise
                this.failed.add(stored.record.record_id)
                facts = {"id": stored.record.record_id, "reason": error.reason.value, "detail": error.detail}
                _log.error("key version not re-wrapped", **facts)

    async def _anew(self, bound: BoundVersion) -> Material:
        made = await self._vault.rewrap(bound, deadline=time.monotonic() + _PATIENCE)
        if made.kek_id == bound.record.kek_id:
            detail = "the newest KEK is not taken up here yet"
            raise StrongroomError(Reason.HSM_UNAVAILABLE, detail=detail, retry_after=1.0)
        return made

    async def _bound(self, version: VersionRecord) -> BoundVersion | None:
        """Bind a version to its key; None for what has ended meanwhile."""
        key = await self._ledger.read(KeyRecord, version.key_id)
        if key is None or key.state is KeyState.DESTROYED or version.state not in WITH_MATERIAL:
            return None
        if not key.exportable:  # what wraps it says otherwise than what it is
            raise StrongroomError(Reason.INTEGRITY_FAILURE, detail="the key is not exportable")
        return BoundVersion(key.key_id, key.spec, key.usage, key.mode, key.exportable, version)

    async def _record(
        self, job: RewrapRecord, this: "_Pass", moved: list[tuple[VersionRecord, Material]]
    ) -> bool:
        """Put the new blobs and the progress into the store, all or none; False when the job was stopped."""
        told: dict[str, Any] = {"principal": "upkeep", "action": "strongroom:RewrapKeys"}
        told |= {"token": spelled(job.token), "house_key": job.target}
        told |= {"count": len(moved), "failed": len(this.failed)}
        await self._audit.write({**told, "kind": "intent", "outcome": "PENDING"})
        outcome = Reason.INTERNAL.value
        try:
            written = await self._commit(job, this, moved)
            outcome = "OK" if written else "UNCHANGED"
        except StrongroomError as error:
            outcome = error.reason.value
            raise
        finally:
            await self._audit.write({**told, "kind": "outcome", "outcome": outcome})
        return written

    async def _commit(
        self, job: RewrapRecord, this: "_Pass", moved: list[tuple[VersionRecord, Material]]
    ) -> bool:
        async with self._ledger.change() as change:
            current = await change.get(RewrapRecord, job.record_id)
            if current is None or current.state is not RewrapState.RUNNING or current.target != job.target:
                return False
            count = 0
            for version, material in moved:
                if await change.get(VersionRecord, version.record_id) == version:
                    await change.put(under(version, material))
                    count += 1
            progress = dataclasses.replace(
                current,
                rewrapped=current.rewrapped + count,
                failed=len(this.failed),
                row_version=current.row_version + 1,
            )
            await change.put(progress)
            failpoints.reach("rewrap.3")
        return True

    async def _note(self, job: RewrapRecord, changes: dict[str, Any]) -> None:
        async with self._ledger.change() as change:
            current = await change.get(RewrapRecord, job.record_id)
            if current is not None and current.state is RewrapState.RUNNING:
                row_version = current.row_version + 1
                await change.put(dataclasses.replace(current, **changes, row_version=row_version))


@dataclasses.dataclass(slots=True)
class _Pass:
    """Where a pass through the versions under older KEKs is; forgotten with the process, and begun anew.

    Attributes:
        target: the KEK that it moves to.
        after: id of the version looked at last, under the KEK at hand.
        done: KEKs that were looked through.
        failed: ids of versions that could not be moved.
        moved: how many were.
    """

    target: str
    after: str = ""
    done: set[tuple[str, VersionState]] = dataclasses.field(default_factory=set)
    failed: set[str] = dataclasses.field(default_factory=set)
    moved: int = 0


def under(version: VersionRecord, material: Material) -> VersionRecord:
    """Give a version's record with the same material under another KEK."""
    return dataclasses.replace(
        version,
        kek_id=material.kek_id,
        blob=material.blob,
        recovery_blob=material.recovery_blob,
        row_version=version.row_version + 1,
    )
