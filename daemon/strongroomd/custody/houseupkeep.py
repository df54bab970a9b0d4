"""What the elected worker does for the house's own keys: half-made ones, strangers, MACs by older keys."""

import dataclasses
from typing import Final

from strongroomd.custody.births import INTENT_GRACE_MS
from strongroomd.custody.clock import Clock
from strongroomd.custody.housekeys import activate, house_records
from strongroomd.custody.ledger import Ledger
from strongroomd.custody.reconciliation import DifferenceMeter
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.housekeys import House
from strongroomd.domain.records import RECORD_KINDS, HouseRecord, HouseState, Record
from strongroomd.domain.tokens import spelled
from strongroomd.ports import AuditLog, Store, Vault
from strongroomd.telemetry import failpoints, logs

_log = logs.get("custody")
BATCH: Final = 100
"""Records whose MAC is renewed in one transaction: some 20 ms, in which other changes wait."""

AGAIN_SECONDS: Final = 600.0
"""After so long it is looked again: a worker that knew the new key late wrote some MACs by the older."""


class HouseUpkeep:
    """Tasks of the elected worker, each safe to repeat and to run twice.

    Args:
        ledger: protected records.
        store: lists them.
        vault: the tokens.
        audit: this worker's chain.
        clock: tells how old an intent is.
        meter: counts what is found.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        vault: Vault,
        audit: AuditLog,
        clock: Clock,
        meter: DifferenceMeter,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._vault = vault
        self._audit = audit
        self._clock = clock
        self._meter = meter
        self._resealed = (b"", 0.0)

    async def settle(self) -> None:
        """Finish or give up successors that somebody announced and did not live to make active."""
        old = self._clock.wall_ms() - INTENT_GRACE_MS
        for record in await house_records(self._ledger, self._store):
            if record.state is HouseState.INTENT and record.created_at < old:
                await self._settle(record)

    async def _settle(self, intent: HouseRecord) -> None:
        if not self._vault.usable(intent.token):
            return
        made = await self._vault.find_house_key(House(intent.role), intent.hsm_id, intent.token)
        told = {"kind": "outcome", "principal": "upkeep", "action": "strongroom:SettleHouseKey"}
        told |= {"role": intent.role, "token": spelled(intent.token), "house_key": intent.hsm_id}
        await self._audit.write({**told, "kind": "intent", "outcome": "PENDING"})
        async with self._ledger.change() as change:
            if made is not None:
                record = await activate(change, intent, made)
            else:
                state, row_version = HouseState.FAILED, intent.row_version + 1
                record = dataclasses.replace(intent, state=state, row_version=row_version)
                await change.put(record)
        await self._audit.write({**told, "outcome": "OK", "state": record.state.value})
        self._meter.reconciled("house_key_finished" if made is not None else "house_key_given_up")
        await self._vault.take_up([record])

    async def reconcile(self) -> None:
        """Report house keys in the tokens that no record names: nobody uses them, nobody can destroy them."""
        records = await house_records(self._ledger, self._store)
        settled = [record for record in records if record.state is not HouseState.FAILED]
        for token in self._vault.tokens():
            if not self._vault.usable(token):
                continue
            known = {record.hsm_id for record in settled if record.token == token}
            for hsm_id in await self._vault.house_strangers(known, token):
                self._meter.reconciled("orphan")
                _log.error("house key without a record; nothing uses it", token=spelled(token), id=hsm_id)

    async def reseal(self) -> int:
        """Give the next records a MAC by the newest row MAC key; returns how many got one.

        A record that does not verify stays as it is, for the scan to report.
        """
        tag, now = self._vault.mac_tag, self._clock.monotonic()
        if not tag or (tag == self._resealed[0] and now - self._resealed[1] < AGAIN_SECONDS):
            return 0
        done = 0
        for kind in RECORD_KINDS.values():
            done = await self._reseal_some(kind, tag)
            if done:
                return done
        self._resealed = (tag, now)
        _log.info("every record has a MAC by the newest key")
        return done

    async def _reseal_some(self, kind: type[Record], tag: bytes) -> int:
        after = ""
        while names := await self._store.sealed_otherwise(kind, tag, after, BATCH):
            failpoints.reach("reseal.1")
            if done := await self._reseal_these(kind, names):
                failpoints.reach("reseal.2")
                return done
            after = names[-1]  # none of these can be believed
        return 0

    async def _reseal_these(self, kind: type[Record], names: list[str]) -> int:
        done = 0
        async with self._ledger.change() as change:
            for name in names:
                try:
                    done += await change.reseal(kind, name)
                except StrongroomError as error:
                    if error.reason is not Reason.INTEGRITY_FAILURE:
                        raise
                    _log.error("record not resealed", kind=kind.KIND, id=name, detail=error.detail)
        return done
