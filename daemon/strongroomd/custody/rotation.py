"""New versions: what makes one the current one, and those that nobody asked for.

A symmetric version of scheme AES_GCM encrypts at most 2^32 times. The elected worker looks which current
versions are nearly there, and gives their keys a new version in time.
"""

import dataclasses
import time
from collections.abc import AsyncIterator
from typing import Final, Protocol

from strongroomd.custody.births import Births, Commit
from strongroomd.custody.catalog import Catalog, Entry
from strongroomd.custody.diary import BY_UPKEEP, UNCHANGED
from strongroomd.custody.gate import Gate, Passage
from strongroomd.custody.keyforms import check_etag
from strongroomd.custody.ledger import Change, Ledger
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.invocations import Bounds
from strongroomd.domain.lifecycle import Act, require
from strongroomd.domain.principals import Caller, Principal
from strongroomd.domain.records import InvocationsRecord, KeyRecord, KeyState, VersionRecord
from strongroomd.ports import Store
from strongroomd.telemetry import logs

_log = logs.get("custody")
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
    """Rotates worn keys; a task of the elected worker, safe to repeat and to run twice at once.

    Args:
        gate: audits and admits, as for callers; no policy is asked, for this is the daemon's own duty.
        births: makes the material.
        catalog: finds keys.
        ledger: verifies counters.
        store: lists worn versions.
        meter: hears how many there are.
        bounds: when a version counts as worn.
    """

    def __init__(
        self,
        gate: Gate,
        births: Births,
        catalog: Catalog,
        ledger: Ledger,
        store: Store,
        meter: WearMeter,
        bounds: Bounds | None = None,
    ) -> None:
        self._gate = gate
        self._births = births
        self._catalog = catalog
        self._ledger = ledger
        self._store = store
        self._meter = meter
        self._bounds = bounds or Bounds()

    async def renew(self) -> None:
        """Give worn keys a new version; one that cannot be rotated now keeps no other waiting."""
        warned = [pair async for pair in self._worn()]
        due = [pair for pair in warned if pair[1].reserved >= self._bounds.rotate]
        self._meter.worn(80, len(warned))
        self._meter.worn(90, len(due))
        for entry, counter in due:
            try:
                await self._rotate(entry, counter)
            except StrongroomError as error:
                facts = {"key": entry.key.key_id, "reason": error.reason.value, "detail": error.detail}
                _log.error("worn key not rotated", **facts)

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

    async def _rotate(self, entry: Entry, counter: InvocationsRecord) -> None:
        """Rotate one key, written down before and after as a caller's rotation is."""
        key = entry.key
        upkeep = Principal(BY_UPKEEP["principal"], key.account)
        caller = Caller(upkeep, "", time.monotonic() + _PATIENCE, door="upkeep")
        passage = Passage(self._gate, caller, Action.ROTATE_KEY)
        passage.note_key(entry.arn)
        passage.facts["worn"] = {"version": counter.version, "invocations": counter.reserved}
        try:
            commit = succession(key.key_id, after=counter.version)
            await self._births.bear(passage, key, "", None, commit)
        except StrongroomError as error:
            lost = error.reason is Reason.ETAG_MISMATCH  # somebody else rotated it meanwhile
            await passage.outcome(UNCHANGED if lost else error.reason.value)
            if not lost:
                raise
        except BaseException:
            await passage.outcome(Reason.INTERNAL.value)
            raise
        else:
            await passage.outcome("OK")
