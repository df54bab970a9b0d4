"""Ends that upkeep brings about: keys and imported material whose time has come, versions left half done.

Each is written down before and after. A key's record ends in one transaction with its versions; the token's
objects follow, and whatever was left half done when a worker died is finished or undone later.
"""

import dataclasses

from strongroomd.custody.births import INTENT_GRACE_MS, abandon, destroy_object
from strongroomd.custody.clock import Clock
from strongroomd.custody.copies import forget_copies
from strongroomd.custody.destructions import note_destruction
from strongroomd.custody.diary import UNCHANGED, Diary
from strongroomd.custody.importedkeys import LIVING, forget_material, remove, versions_of
from strongroomd.custody.ledger import Change, Ledger
from strongroomd.custody.listed import attend
from strongroomd.custody.reconciliation import DifferenceMeter
from strongroomd.domain.materials import MaterialRecord
from strongroomd.domain.records import (
    AliasRecord,
    CustodyMode,
    KeyRecord,
    KeyState,
    Origin,
    VersionRecord,
    VersionState,
)
from strongroomd.ports import Store, Vault
from strongroomd.telemetry import failpoints


class Endings:
    """Ends what is due.

    Args:
        ledger: protected records.
        store: lists what is due.
        vault: destroys.
        clock: says what is due.
        diary: writes down what is done.
        meter: counts what was left half done.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        vault: Vault,
        clock: Clock,
        diary: Diary,
        meter: DifferenceMeter,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._vault = vault
        self._clock = clock
        self._told = diary.told
        self._meter = meter

    async def end_due(self) -> None:
        """Destroy keys and take imported material away whose time has come; the clock must be believed."""
        for stored in await self._store.due(KeyState.PENDING_DELETION.value, self._clock.wall_ms()):
            await attend(self._ledger, self._destroy, stored)
        for material in await self._store.expired(self._clock.wall_ms()):
            await attend(self._ledger, self._expire, material)

    async def finish(self) -> None:
        """Finish destructions and undo births that were left half done."""
        for stored in await self._store.unsettled():
            await attend(self._ledger, self._resolve, stored)

    async def _destroy(self, key: KeyRecord) -> None:
        """Make a key's tombstone: wrapped material is gone with it, resident objects follow, adopted stay."""
        async with self._told("strongroom:DestroyKey", key.key_id) as told:
            if key.mode is CustodyMode.ADOPTED:
                told["object_stays_in_token"] = True
            doomed = await self._bury(key)
            if doomed is None:
                told["outcome"] = UNCHANGED
                return
            failpoints.reach("delete.2")
            self._vault.forget(key.key_id)
            for version in doomed:
                await self._resolve(version)

    async def _expire(self, material: MaterialRecord) -> None:
        """Take imported material away whose time is over; its key waits for it then."""
        async with self._told("strongroom:ExpireKeyMaterial", material.key_id, material.version) as told:
            if not await self._take_away(material):
                told["outcome"] = UNCHANGED
        self._vault.forget(material.key_id)
        failpoints.reach("expire-material.2")

    async def _take_away(self, material: MaterialRecord) -> bool:
        """Remove material that is still due; False when it is not any more."""
        now = self._clock.wall_ms()
        async with self._ledger.change() as change:
            key = await change.get(KeyRecord, material.key_id)
            version = await change.get(VersionRecord, material.record_id)
            current = await change.get(MaterialRecord, material.record_id)
            if key is None or version is None or current is None or not 0 < current.expires_at <= now:
                return False
            await remove(change, key, version, now)
            failpoints.reach("expire-material.1")
        return True

    async def _bury(self, key: KeyRecord) -> list[VersionRecord] | None:
        """Record a key's end; gives the versions whose objects must go, or None if the key is not due."""
        async with self._ledger.change() as change:
            current = await change.get(KeyRecord, key.key_id)
            if current is None or current.state is not KeyState.PENDING_DELETION:
                return None
            if not 0 < current.deletion_at <= self._clock.wall_ms():
                return None
            row_version = current.row_version + 1
            failpoints.reach("delete.1")
            await change.put(dataclasses.replace(current, state=KeyState.DESTROYED, row_version=row_version))
            await note_destruction(change, current, self._clock.wall_ms())
            doomed = await self._end_versions(change, key)
            await forget_copies(change, key)
            for stored in await change.transaction.aliases_of(key.key_id):
                alias = await change.get(AliasRecord, stored.record.record_id)
                if alias is not None:
                    await change.delete(alias)
        return doomed

    async def _end_versions(self, change: Change, key: KeyRecord) -> list[VersionRecord]:
        doomed = []
        for version in await versions_of(change, key.key_id):
            if version.state not in _DOOMED:
                continue
            if key.origin is Origin.EXTERNAL:
                await forget_material(change, version)
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
            failpoints.reach("delete.3")
            async with self._ledger.change() as change:
                current = await change.get(VersionRecord, version.record_id)
                if current is not None and current.state is VersionState.DESTROYING:
                    await change.put(_next(current, VersionState.DESTROYED))
        self._meter.reconciled("destroyed")


_DOOMED = LIVING | {VersionState.MISSING}
"""States of versions that end with their key."""


def _next(version: VersionRecord, state: VersionState) -> VersionRecord:
    return dataclasses.replace(version, state=state, row_version=version.row_version + 1)
