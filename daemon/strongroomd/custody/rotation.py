"""New versions: what makes one the current one, and those that nobody asked for.

A symmetric version of scheme AES_GCM encrypts at most 2^32 times. The elected worker looks which current
versions are nearly there, and gives their keys a new version in time; and services' keys one that are old.
Adopted keys it can only warn of: their versions are objects that somebody else makes.
"""

import dataclasses
import time
from collections.abc import AsyncIterator
from typing import Any, Final, Protocol

from strongroomd.custody.births import Births, Commit
from strongroomd.custody.catalog import Catalog, Entry
from strongroomd.custody.clock import Clock
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
    VersionRecord,
)
from strongroomd.ports import Store
from strongroomd.telemetry import logs

_log = logs.get("custody")
_DAY_MS: Final = 24 * 3600 * 1000
_PATIENCE: Final = 30.0  # seconds for one rotation; nobody waits for it


def succession(key_id: str, etag: str = "", after: int = 0) -> Commit:
    """Give the change that makes a new version the current one.

    Args:
        key_id: the key.
        etag: refuses a key that changed since, if given.
        after: the version that must still be the current one, 0 for any.
    """

    async def commit(change: Change, version: VersionRecord) -> KeyRecord:
        current = await change.get(KeyRecord, key_id)
        if current is None:
            raise StrongroomError(Reason.ACCESS_DENIED)
        require(current.state, Act.ROTATE)
        check_etag(current.row_version, etag)
        if after not in {0, current.current_version}:
            raise StrongroomError(Reason.ETAG_MISMATCH)
        rotated = dataclasses.replace(
            current, current_version=version.version, row_version=current.row_version + 1
        )
        await change.put(version)
        await change.put(rotated)
        return rotated

    return commit


class WearMeter(Protocol):
    """Hears how many keys are worn, for metrics."""

    def worn(self, percent: int, keys: int) -> None:
        """Note how many keys' current versions have used so many hundredths of their invocations."""
        ...


class Rotation:
    """Rotates worn keys and services' keys; a task of the elected worker, safe to repeat and to run twice.

    Args:
        gate: audits and admits, as for callers; no policy is asked, for this is the daemon's own duty.
        births: makes the material.
        catalog: finds keys.
        ledger: verifies counters.
        store: lists worn and old versions.
        meter: hears how many are worn.
        clock: tells how old a version is.
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

    async def renew(self) -> None:
        """Give worn keys a new version; one that cannot be rotated now keeps no other waiting."""
        warned = [pair async for pair in self._worn()]
        due = [pair for pair in warned if pair[1].reserved >= self._bounds.rotate]
        self._meter.worn(80, len(warned))
        self._meter.worn(90, len(due))
        for entry, counter in due:
            if entry.key.mode is CustodyMode.ADOPTED:
                _log.warning("adopted key is worn: adopt another object for it", key=entry.key.key_id)
                continue
            worn = {"worn": {"version": counter.version, "invocations": counter.reserved}}
            await self._guarded(entry, counter.version, worn)
        async for entry, old in self._aged():
            await self._guarded(entry, old.version, {"aged": {"version": old.version}})

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

    async def _guarded(self, entry: Entry, after: int, why: dict[str, Any]) -> None:
        if not self._births.possible(entry.key):
            _log.warning("key not rotated: its token is away", key=entry.key.key_id)
            return
        try:
            await self._rotate(entry, after, why)
        except StrongroomError as error:
            facts = {"key": entry.key.key_id, "reason": error.reason.value, "detail": error.detail}
            _log.error("key not rotated", **facts)

    async def _rotate(self, entry: Entry, after: int, why: dict[str, Any]) -> None:
        """Rotate one key, written down before and after as a caller's rotation is."""
        key = entry.key
        upkeep = Principal(BY_UPKEEP["principal"], key.account)
        caller = Caller(upkeep, "", time.monotonic() + _PATIENCE, door="upkeep")
        passage = Passage(self._gate, caller, Action.ROTATE_KEY)
        passage.note_key(entry.arn)
        passage.facts |= why
        async with settled(passage, lost=Reason.ETAG_MISMATCH):  # somebody else rotated it meanwhile
            await self._births.bear(passage, key, "", None, succession(key.key_id, after=after))
