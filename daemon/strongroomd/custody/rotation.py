"""New versions: what makes one the current one, and those that nobody asked for.

A symmetric version of scheme AES_GCM encrypts at most 2^32 times. The elected worker looks which current
versions are nearly there, and gives their keys a new version in time; and one to keys whose schedule says so
(`schedules`), and to services' keys that are old. By the clock nothing is rotated while the clock is not
believed. Adopted and imported keys it can only warn of: what their versions are, somebody else makes.
"""

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Protocol

from strongroomd.custody.auditfacts import note_key
from strongroomd.custody.births import Births, Commit
from strongroomd.custody.catalog import Catalog, Entry
from strongroomd.custody.clock import Clock
from strongroomd.custody.copies import replicas_of, waiting_version
from strongroomd.custody.diary import BY_UPKEEP, settled
from strongroomd.custody.gate import Gate
from strongroomd.custody.keyforms import check_etag
from strongroomd.custody.ledger import Change, Ledger
from strongroomd.custody.passage import Passage
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.invocations import Bounds
from strongroomd.domain.lifecycle import Act, require
from strongroomd.domain.principals import Caller, Principal
from strongroomd.domain.records import (
    CustodyMode,
    InvocationsRecord,
    KeyManager,
    KeyRecord,
    KeyState,
    Origin,
    VersionRecord,
    VersionState,
)
from strongroomd.domain.replication import MultiRegion, refuse_replica
from strongroomd.domain.rotations import OVERDUE_MS, RotationType, ScheduleRecord, advanced, is_due
from strongroomd.ports import Store
from strongroomd.telemetry import failpoints, logs

_log = logs.get("custody")
_DAY_MS: Final = 24 * 3600 * 1000
_PATIENCE: Final = 30.0  # seconds for one rotation; nobody waits for it
_AT_ONCE: Final = 1_000  # scheduled rotations of one look; some may fail again and again
MAX_OVERDUE: Final = 10_000  # so many overdue keys are counted


async def is_waited_for(change: Change, key: KeyRecord) -> bool:
    """Say whether a key's next version must wait for replicas before it is used.

    Raises:
        StrongroomError: INVALID_KEY_STATE while another one waits.
    """
    if key.multi_region is not MultiRegion.PRIMARY or not await replicas_of(change, key.key_id):
        return False
    if await waiting_version(change, key.key_id) is not None:
        raise StrongroomError(
            Reason.INVALID_KEY_STATE, "another version waits for the key's replicas already"
        )
    return True


def succession(
    key_id: str, etag: str = "", after: int = 0, why: RotationType = RotationType.ON_DEMAND
) -> Commit:
    """Give the change that makes a new version the current one; where there are replicas, it waits for them.

    Args:
        key_id: the key.
        etag: refuses a key that changed since, if given.
        after: the version that must still be the current one, 0 for any.
        why: what the new version says of its making.
    """

    async def commit(change: Change, version: VersionRecord) -> KeyRecord:
        current = await change.get(KeyRecord, key_id)
        if current is None:
            raise StrongroomError(Reason.ACCESS_DENIED)
        require(current.state, Act.ROTATE)
        check_etag(current.row_version, etag)
        if after not in {0, current.current_version}:
            raise StrongroomError(Reason.ETAG_MISMATCH)
        refuse_replica(current.multi_region)
        if await is_waited_for(change, current):
            await change.put(dataclasses.replace(version, state=VersionState.PENDING_ROTATION, rotation=why))
            return current
        rotated = dataclasses.replace(
            current, current_version=version.version, row_version=current.row_version + 1
        )
        failpoints.reach("rotate.1")
        await change.put(dataclasses.replace(version, rotation=why))
        await change.put(rotated)
        failpoints.reach("rotate.2")
        return rotated

    return commit


def scheduled(key_id: str, after: int, clock: Clock) -> Commit:
    """Give the change of an automatic rotation: the version, and the schedule's next date.

    It is refused with ETAG_MISMATCH where the schedule is not due any more.
    """
    rotate = succession(key_id, after=after, why=RotationType.AUTOMATIC)

    async def commit(change: Change, version: VersionRecord) -> KeyRecord:
        schedule, now = await change.get(ScheduleRecord, key_id), clock.wall_ms()
        if schedule is None or not is_due(schedule, now):
            raise StrongroomError(Reason.ETAG_MISMATCH)
        await change.put(advanced(schedule, now))
        return await rotate(change, version)

    return commit


class WearMeter(Protocol):
    """Hears how many keys are worn, for metrics."""

    def worn(self, percent: int, keys: int) -> None:
        """Note how many keys' current versions have used so many hundredths of their invocations."""
        ...

    def overdue(self, keys: int) -> None:
        """Note how many keys should have been rotated automatically more than an hour ago."""
        ...

    def waiting(self, versions: int) -> None:
        """Note how many versions of multi-region keys have waited for replicas for more than a day."""
        ...


class Rotation:
    """Rotates keys that are worn or due; a task of the elected worker, safe to repeat and to run twice.

    Args:
        gate: audits and admits, as for callers; no policy is asked, for this is the daemon's own duty.
        births: makes the material.
        catalog: finds keys.
        ledger: verifies counters.
        store: lists worn and old versions.
        meter: hears how many are worn.
        clock: tells how old a version is.
        clock_believed: says whether it may be acted upon; upkeep knows.
        bounds: when a version counts as worn.

    Attributes:
        service_days: for how long a version of a service's key is the current one.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - a birth, and two reasons for it
        self,
        gate: Gate,
        births: Births,
        catalog: Catalog,
        ledger: Ledger,
        store: Store,
        meter: WearMeter,
        clock: Clock,
        clock_believed: Callable[[], Awaitable[bool]],
        bounds: Bounds | None = None,
        service_days: int = 365,
    ) -> None:
        self._gate = gate
        self._births = births
        self._catalog = catalog
        self._ledger = ledger
        self._store = store
        self._meter = meter
        self._clock = clock
        self._bounds = bounds or Bounds()
        self.service_days = service_days
        self._clock_believed = clock_believed

    async def renew(self) -> None:
        """Give worn and due keys a new version; one that cannot be rotated now keeps no other waiting."""
        warned = [pair async for pair in self._worn()]
        due = [pair for pair in warned if pair[1].reserved >= self._bounds.rotate]
        self._meter.worn(80, len(warned))
        self._meter.worn(90, len(due))
        for entry, counter in due:
            if entry.key.mode is CustodyMode.ADOPTED:
                _log.warning("adopted key is worn: adopt another object for it", key=entry.key.key_id)
                continue
            if entry.key.origin is Origin.EXTERNAL:
                _log.warning("imported key is worn: import new material for it", key=entry.key.key_id)
                continue
            worn = {"worn": {"version": counter.version, "invocations": counter.reserved}}
            await self._guarded(entry, counter.version, worn)
        if await self._clock_believed():
            await self._renew_by_date()
        late = await self._store.rotations_due(self._clock.wall_ms() - OVERDUE_MS, MAX_OVERDUE)
        self._meter.overdue(len(late))
        self._meter.waiting(await self._store.waiting(self._clock.wall_ms() - _DAY_MS))

    async def _renew_by_date(self) -> None:
        async for entry, schedule in self._due():
            current = entry.key.current_version
            facts = {"scheduled": {"version": current, "due_at": schedule.next_at}}
            commit = scheduled(entry.key.key_id, current, self._clock)
            await self._guarded(entry, current, facts, commit)
        async for entry, old in self._aged():
            await self._guarded(entry, old.version, {"aged": {"version": old.version}})

    async def _due(self) -> AsyncIterator[tuple[Entry, ScheduleRecord]]:
        """Find the keys whose schedule is due, both verified."""
        for stored in await self._store.rotations_due(self._clock.wall_ms(), _AT_ONCE):
            try:
                schedule = await self._ledger.verify(stored)
                entry = await self._catalog.entry(schedule.key_id)
            except StrongroomError as error:
                _log.error("rotation schedule not verified", reason=error.reason.value, detail=error.detail)
                continue
            if entry.key.state is KeyState.ENABLED and is_due(schedule, self._clock.wall_ms()):
                yield entry, schedule

    async def _aged(self) -> AsyncIterator[tuple[Entry, VersionRecord]]:
        """Find the services' keys whose current version is too old, verified."""
        before = self._clock.wall_ms() - self.service_days * _DAY_MS
        for stored in await self._store.aged(before):
            try:
                version = await self._ledger.verify(stored)
                entry = await self._catalog.entry(version.key_id)
            except StrongroomError as error:
                _log.error("old version not verified", reason=error.reason.value, detail=error.detail)
                continue
            key = entry.key
            ours = key.manager is KeyManager.SERVICE and key.state is KeyState.ENABLED
            if ours and key.current_version == version.version and version.created_at <= before:
                yield entry, version

    async def _worn(self) -> AsyncIterator[tuple[Entry, InvocationsRecord]]:
        """Find the keys in use whose current version is past the warning mark, their counters verified."""
        for stored in await self._store.worn(self._bounds.warn):
            try:
                counter = await self._ledger.verify(stored)
                entry = await self._catalog.entry(counter.key_id)
            except StrongroomError as error:
                _log.error("worn version not verified", reason=error.reason.value, detail=error.detail)
                continue
            if entry.key.state is KeyState.ENABLED and entry.key.current_version == counter.version:
                yield entry, counter

    async def _guarded(
        self, entry: Entry, after: int, why: dict[str, Any], commit: Commit | None = None
    ) -> None:
        if not self._births.possible(entry.key):
            _log.warning("key not rotated: its token is away", key=entry.key.key_id)
            return
        try:
            automatic = succession(entry.key.key_id, after=after, why=RotationType.AUTOMATIC)
            await self._rotate(entry, why, commit or automatic)
        except StrongroomError as error:
            facts = {"key": entry.key.key_id, "reason": error.reason.value, "detail": error.detail}
            _log.error("key not rotated", **facts)

    async def _rotate(self, entry: Entry, why: dict[str, Any], commit: Commit) -> None:
        """Rotate one key, written down before and after as a caller's rotation is."""
        key = entry.key
        upkeep = Principal(BY_UPKEEP["principal"], key.account)
        caller = Caller(upkeep, "", self._clock.monotonic() + _PATIENCE, door="upkeep")
        passage = Passage(self._gate, caller, Action.ROTATE_KEY)
        note_key(passage.facts, entry.arn)
        passage.facts |= why
        async with settled(passage, lost=Reason.ETAG_MISMATCH):  # somebody else rotated it meanwhile
            await self._births.bear(passage, key, "", None, commit)
