"""A token's house keys in a process that serves: successors made, and those that others made taken up."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Final

from strongroomd.domain.housekeys import House, active
from strongroomd.domain.keys import HouseMaterial
from strongroomd.domain.records import HouseRecord
from strongroomd.hsm.house import Household, mac_tag
from strongroomd.hsm.objects import TokenObjects
from strongroomd.hsm.quirks import Quirks

Source = Callable[[], Awaitable[Sequence[HouseRecord]]]
LOOK_SECONDS: Final = 1.0  # between two looks into the store for a KEK that nobody knows


class Housekeeping:
    """Keeps a token's household up to date. Everything here belongs to the event loop's thread.

    Args:
        token: the token's name, as records have it.
        house: the household, which grows.
        objects: the thread for token objects.
        quirks: what cannot be read back.

    Attributes:
        source: reads the store's house records, verified; set once there is a store.
    """

    def __init__(self, token: str, house: Household, objects: TokenObjects, quirks: Quirks) -> None:
        self.source: Source = _nothing
        self._token = token
        self._house = house
        self._objects = objects
        self._quirks = quirks
        self._taking = asyncio.Lock()
        self._looked = 0.0

    async def take_up(self, records: Iterable[HouseRecord]) -> None:
        """Find, prove and use the keys of this token that are not known yet; older generations first.

        Raises:
            StrongroomError: CONFIGURATION or INTEGRITY_FAILURE for a key that is not what its record says,
                which is not used; HSM_UNAVAILABLE.
        """
        async with self._taking:
            for record in active(records):
                if record.token == self._token and record.hsm_id not in self._house.known:
                    self._house.take_up(record, await self._objects.prove(record, self._quirks))

    async def know_mac_keys(self, records: Iterable[HouseRecord]) -> None:
        """Find and prove row MAC keys, to verify with and not to use: nobody vouches for their records yet.

        Raises:
            StrongroomError: as `take_up`.
        """
        async with self._taking:
            for record in active(records):
                mine = record.role == House.ROW_MAC.value and record.token == self._token
                if mine and mac_tag(record) not in self._house.row_macs:
                    handle = await self._objects.prove(record, self._quirks)
                    self._house.row_macs[mac_tag(record)] = handle

    async def look_for(self, kek_id: str) -> None:
        """Look into the store whether there is a KEK that this process has not seen, not too often."""
        now = time.monotonic()
        if kek_id in self._house.keks or now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        await self.take_up(await self.source())

    async def make(self, role: House, hsm_id: str) -> HouseMaterial:
        """See `Vault.make_house_key`."""
        return await self._objects.make_house_key(role, hsm_id)

    async def find(self, role: House, hsm_id: str) -> HouseMaterial | None:
        """See `Vault.find_house_key`."""
        return await self._objects.find_house_key(role, hsm_id)

    async def strangers(self, known: Collection[str]) -> list[str]:
        """See `Vault.house_strangers`."""
        return await self._objects.house_strangers(known)


async def _nothing() -> Sequence[HouseRecord]:
    """Stand in until there is a store."""
    return ()
