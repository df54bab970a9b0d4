"""Reconciliation: each token's resident objects are held against the store; what differs is dealt with."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Protocol

from strongroomd.custody.births import destroy_object
from strongroomd.custody.diary import UNCHANGED, Diary
from strongroomd.custody.ledger import Ledger
from strongroomd.custody.listed import attend
from strongroomd.domain.errors import StrongroomError
from strongroomd.domain.records import VersionRecord, VersionState
from strongroomd.domain.tokens import spelled
from strongroomd.ports import Store, Stored, Vault
from strongroomd.telemetry import logs

_log = logs.get("custody")


class DifferenceMeter(Protocol):
    """Counts differences between store and token, for metrics."""

    def reconciled(self, kind: str) -> None:
        """Count one difference that was dealt with."""
        ...


class Reconciliation:
    """Holds tokens against the store.

    Args:
        ledger: protected records.
        store: lists resident versions.
        vault: lists and destroys objects.
        diary: writes down what is done.
        meter: counts.
    """

    def __init__(
        self, ledger: Ledger, store: Store, vault: Vault, diary: Diary, meter: DifferenceMeter
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._vault = vault
        self._told = diary.told
        self._meter = meter

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
            await attend(self._ledger, partial(self._compare, objects), stored)
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
                await change.put(
                    dataclasses.replace(version, state=state, row_version=version.row_version + 1)
                )
