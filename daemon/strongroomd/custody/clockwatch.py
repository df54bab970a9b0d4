"""Whether the wall clock may be believed with a destruction.

A clock set wrong must not make deletions fall due before somebody could notice: after a jump forward nothing
is destroyed for a day, whichever worker leads.
"""

from typing import Protocol

from strongroomd.custody.clock import Clock
from strongroomd.custody.diary import BY_UPKEEP
from strongroomd.domain.audit import Checkpoint
from strongroomd.ports import AuditLog, Store
from strongroomd.telemetry import logs

_log = logs.get("custody")
CLOCK_STEP_MS = 60_000
LONGEST_REST_MS = 24 * 3600 * 1000
CLOCK_REST_SECONDS = 24 * 3600.0
_DISTRUSTED = "clock-distrusted"


class ClockMeter(Protocol):
    """Counts jumps, for metrics."""

    def reconciled(self, kind: str) -> None:
        """Count one difference that was dealt with."""
        ...


class ClockWatch:
    """Looks for jumps of the wall clock.

    Args:
        store: keeps the rest after a jump, as a lease, for the next leader to keep too.
        audit: is told of jumps.
        clock: the clocks.
        meter: counts.
    """

    def __init__(self, store: Store, audit: AuditLog, clock: Clock, meter: ClockMeter) -> None:
        self._store = store
        self._audit = audit
        self._clock = clock
        self._meter = meter
        self._offset: int | None = None

    async def judge(self, newest: Checkpoint | None) -> None:
        """Look for a jump; to be called before a checkpoint is signed and before anything is destroyed.

        The first time the clock is held against the newest checkpoint, which may be a day old; later against
        the monotonic clock: `_offset` is how far the two lie apart at least, so that small steps add up.
        """
        wall = self._clock.wall_ms()
        offset = wall - int(self._clock.monotonic() * 1000)
        if self._offset is None:
            jump = max(0, wall - newest.time - LONGEST_REST_MS) if newest else 0
        else:
            jump = offset - self._offset
        if jump > CLOCK_STEP_MS:
            await self._distrust(wall, jump)
        if self._offset is None or jump < 0 or jump > CLOCK_STEP_MS:
            self._offset = offset

    async def _distrust(self, wall: int, jump: int) -> None:
        await self._audit.write({**BY_UPKEEP, "action": "strongroom:DistrustClock", "milliseconds": jump})
        await self._store.lease(_DISTRUSTED, "upkeep", wall, CLOCK_REST_SECONDS)
        self._meter.reconciled("clock_jump")
        _log.error("the clock jumped forward; no key is destroyed for a day", extra={"ms": jump})

    async def distrusted(self) -> bool:
        """Say whether a rest is on; one that ends absurdly late was begun before the clock was put right."""
        ahead = await self._store.lease_ends(_DISTRUSTED) - self._clock.wall_ms()
        return 0 < ahead <= 2 * CLOCK_REST_SECONDS * 1000
