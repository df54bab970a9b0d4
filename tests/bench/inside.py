"""The daemon's own rooms on a store of the benchmark, without a daemon: to fill it, and to ask it from inside."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from strongroomd import config as configuration
from strongroomd.config import Settings
from strongroomd.custody.ledger import Ledger
from strongroomd.domain.records import HouseRecord
from strongroomd.hsm.opening import open_vault
from strongroomd.ports import Store, Vault
from strongroomd.storage.store import open_store
from strongroomd.wiring import rooms


@dataclass(frozen=True)
class Inside:
    """What is open."""

    settings: Settings
    store: Store
    vault: Vault
    ledger: Ledger


@asynccontextmanager
async def inside(config: Path) -> AsyncIterator[Inside]:
    """Open token and store, and follow the journal. Once in a process: a PKCS#11 module is loaded once."""
    settings = configuration.load(config)
    store = open_store(rooms.store_settings(settings))
    house = [stored.record for stored in await store.all(HouseRecord)]
    vault = open_vault(rooms.hsm_settings(settings), rooms.pin_source(settings).read(), house)
    ledger = Ledger(store, vault)
    await ledger.start()
    yield Inside(settings, store, vault, ledger)
    vault.close()
    await store.close()
