"""External key stores: what answers AWS KMS, and what manages them."""

from dataclasses import dataclass

from strongroomd.custody.secrets import SecretBox
from strongroomd.custody.xks.credentials import Credentials
from strongroomd.custody.xks.externalkeys import ExternalKeys
from strongroomd.custody.xks.health import HealthBoard
from strongroomd.custody.xks.pins import Pins
from strongroomd.custody.xks.proxy import Proxy
from strongroomd.custody.xks.sealing import PartsSealer
from strongroomd.custody.xks.shelf import Shelf
from strongroomd.custody.xks.stores import StoreDesk, Stores
from strongroomd.wiring import rooms
from strongroomd.wiring.ground import Ground


@dataclass(frozen=True, slots=True)
class KeyStoreRooms:
    """External key stores: in memory, their tokens' health, the door's use cases and their management."""

    shelf: Shelf
    board: HealthBoard
    proxy: Proxy
    stores: Stores
    credentials: Credentials
    external_keys: ExternalKeys


def build_key_stores(ground: Ground) -> KeyStoreRooms:
    """Build the use cases of external key stores."""
    gate, catalog, mutations, vault = ground.gate, ground.catalog, ground.mutations, ground.vault
    shelf, box = Shelf(ground.ledger, ground.store), SecretBox(vault)
    board = HealthBoard(vault, ground.clock, rooms.fleet(ground.settings))
    desk, pins = StoreDesk(mutations, shelf), Pins(mutations, shelf)
    sealer = PartsSealer(vault, catalog, ground.invocations)
    return KeyStoreRooms(
        shelf,
        board,
        Proxy(gate, shelf, box, catalog, sealer, pins, board),
        Stores(gate, desk, vault),
        Credentials(gate, desk, vault, box),
        ExternalKeys(gate, desk),
    )
