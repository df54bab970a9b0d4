"""House keys get successors, made by any worker: each takes them up, and the elected one publishes them."""

import asyncio
import time

from strongroomd.config import Settings
from strongroomd.custody.housekeys import house_records
from strongroomd.custody.ledger import Ledger
from strongroomd.domain.records import HouseRecord
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.vaults import Vaults
from strongroomd.ports import JournalEntry, Store
from strongroomd.wiring.publishing import publish

TAKE_UP_SECONDS = 5.0  # after which a house key that could not be taken up is tried again


class Succession:
    """What this worker knows of the house's keys. Everything here belongs to the event loop's thread.

    Args:
        ledger: tells of changes; started.
        store: has the house records.
        vault: uses the keys.
    """

    def __init__(self, ledger: Ledger, store: Store, vault: TokenVault | Vaults) -> None:
        self._ledger = ledger
        self._store = store
        self._vault = vault
        self._changed = True  # one may have come while this worker started
        self._published = False  # likewise
        self._due = 0.0
        ledger.watch(self._heed)

    def _heed(self, change: JournalEntry) -> None:
        """Note that there may be a house key which this worker does not know, and where it is."""
        if change.kind == HouseRecord.KIND:
            self._changed, self._published = True, False
            if isinstance(self._vault, Vaults):
                self._vault.expect(change.record_id)

    async def take_up(self) -> None:
        """Use new house keys; one that cannot be taken up now is tried again."""
        if not self._changed or time.monotonic() < self._due:
            return
        self._changed = False
        try:
            await self._vault.take_up(await house_records(self._ledger, self._store))
        except BaseException:
            self._changed, self._due = True, time.monotonic() + TAKE_UP_SECONDS
            raise

    async def publish(self, settings: Settings) -> None:
        """Leave the public halves of the keys that sign where others look for them."""
        if self._published:
            return
        self._published = True
        try:
            house = await house_records(self._ledger, self._store)
            await asyncio.to_thread(publish, settings, house)
        except BaseException:
            self._published = False
            raise
