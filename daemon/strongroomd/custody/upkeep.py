"""What one worker does for all: checkpoints, the anchor, due deletions, half-made keys, old answers.

The elected worker holds a lease; if it dies another takes over when the lease runs out. Every task is safe to
repeat and safe to run twice at once: the store's transactions decide.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol

from strongroomd.custody.catalog import Catalog
from strongroomd.custody.checkpoints import CheckpointMeter, Checkpoints
from strongroomd.custody.clock import Clock
from strongroomd.custody.diary import Diary
from strongroomd.custody.endings import Endings
from strongroomd.custody.ledger import Ledger
from strongroomd.custody.listed import report_unverified, sweep
from strongroomd.custody.reconciliation import DifferenceMeter, Reconciliation
from strongroomd.domain.errors import StrongroomError
from strongroomd.domain.limits import ANSWER_LIFETIME, QUOTA_REQUEST_LIFETIME
from strongroomd.domain.records import RECORD_KINDS, Record
from strongroomd.ports import AuditLog, AuditTrail, Store, Stored, Vault

LEASE_SECONDS = 6.0
PAIR_GRACE_MS = 3_600_000  # for which a wrapping pair outlives its token
RECHECK_SECONDS = 600.0
_SWEPT = 200  # records deleted in one transaction
_SWEEPS = 10


class UpkeepMeter(CheckpointMeter, DifferenceMeter, Protocol):
    """Counts what upkeep finds, for metrics."""


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
        checkpoint_key: public half (DER SubjectPublicKeyInfo) of the house's first checkpoint key: the first
            checkpoint is signed with it, since that is the one that auditors have.
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
        self._clock = clock
        self._holder = holder
        diary = Diary(ledger, catalog, audit)
        self._checkpoints = Checkpoints(ledger, store, vault, audit, trail, clock, meter, checkpoint_key)
        self._endings = Endings(ledger, store, vault, clock, diary, meter)
        self._reconciliation = Reconciliation(ledger, store, vault, diary, meter)
        self._unscanned: list[tuple[type[Record], str]] = []
        self._rechecked: float | None = None

    async def elected(self) -> bool:
        """Take or keep the lease; on taking it over the newest checkpoint is read again."""
        held = await self._store.lease("upkeep", self._holder, self._clock.wall_ms(), LEASE_SECONDS)
        if not held:
            self._checkpoints.forget()
        return held

    async def checkpoint(self) -> None:
        """Sign a checkpoint if any chain grew, and move the token's anchor: `Checkpoints.sign`."""
        await self._checkpoints.sign()

    async def clock_believed(self) -> bool:
        """Look for a jump of the wall clock now, and say whether it may be acted upon: `clockwatch`."""
        return await self._checkpoints.clock_believed()

    async def settle(self) -> None:
        """Destroy keys and imported material whose time has come; finish or undo what was left half done."""
        if await self.clock_believed():
            await self._endings.end_due()
        await self._endings.finish()
        # Not with the key itself: 50,000 grants in one transaction would keep every other change waiting.
        await self._sweep(self._store.grants_left)

    async def _sweep(self, listing: Callable[[int], Awaitable[Sequence[Stored[Any]]]]) -> None:
        """Delete what a listing (of at most so many) gives, some transactions long."""
        for _ in range(_SWEEPS):
            if not await sweep(self._ledger, await listing(_SWEPT)):
                break

    async def reconcile(self) -> None:
        """Hold each token's resident objects against the store: `Reconciliation.reconcile`."""
        await self._reconciliation.reconcile()

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
                report_unverified(kind, name, error)
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
        """Forget answers after 24 hours, wrapping pairs soon after, closed quota requests after 90 days."""
        now = self._clock.wall_ms()
        await self._store.purge_answers(now - ANSWER_LIFETIME * 1000)
        if not await self.clock_believed():
            return
        await self._sweep(partial(self._store.requests_closed, now - QUOTA_REQUEST_LIFETIME * 1000))
        await self._sweep(partial(self._store.stale_pairs, now - PAIR_GRACE_MS))
