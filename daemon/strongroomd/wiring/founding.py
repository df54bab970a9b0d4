"""Founding: house keys in a fresh token, recorded in a fresh store, anchored in the token."""

from collections.abc import Sequence

from strongroomd.config import Settings
from strongroomd.custody.ledger import Ledger
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import Anchor
from strongroomd.domain.records import HouseRecord
from strongroomd.hsm import ceremony
from strongroomd.hsm.opening import open_vault
from strongroomd.hsm.pin import Pin
from strongroomd.ports import Vault
from strongroomd.storage.migration import migrate
from strongroomd.storage.store import SqlStore, open_store
from strongroomd.wiring import rooms


async def initialise(settings: Settings, *, so_pin: Pin | None = None) -> list[HouseRecord]:
    """Make and record the house keys.

    Args:
        settings: names the token, which must be empty, and the store, which must know no house keys.
        so_pin: the security officer's PIN, when the token has no user PIN yet.

    Raises:
        StrongroomError: CONFIGURATION when token or store are used already.
    """
    migrate(rooms.store_url(settings))
    store = open_store(rooms.store_settings(settings))
    try:
        if await store.all(HouseRecord) or await store.journal(0, 1):
            raise StrongroomError(
                Reason.CONFIGURATION, "the store belongs to a token already", field="store.path"
            )
        hsm, pin = rooms.hsm_settings(settings), rooms.pin_source(settings).read()
        house = ceremony.initialise(hsm, pin, so_pin=so_pin)
        vault = open_vault(hsm, pin, house)
        try:
            await _record(store, vault, house)
        finally:
            vault.close()
        return house
    finally:
        await store.close()


async def _record(store: SqlStore, vault: Vault, house: Sequence[HouseRecord]) -> None:
    ledger = Ledger(store, vault)
    async with ledger.change() as change:
        for record in house:
            await change.put(record)
    await vault.write_anchor(Anchor(ledger.sequence, ledger.head, 0, bytes(32)))
