"""Work on token objects: anchors and resident keys; slow, one process of the host at a time.

It has a thread of its own: waiting for another process, or searching a full token, must not hold up signing,
nor look like a hanging call to the heartbeat.
"""

import time
from collections.abc import Callable, Collection
from typing import Concatenate, Final, ParamSpec, TypeVar

from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.housekeys import House
from strongroomd.domain.keys import Anchor, HouseMaterial, Material, ResidentObject
from strongroomd.domain.records import HouseRecord
from strongroomd.hsm import anchors, housebirth, resident
from strongroomd.hsm.birth import Cradle
from strongroomd.hsm.device import Device, Health
from strongroomd.hsm.handles import Session
from strongroomd.hsm.house import prove
from strongroomd.hsm.lanes import Lane
from strongroomd.hsm.login import login_lock
from strongroomd.hsm.observer import Observer
from strongroomd.hsm.packing import Packed
from strongroomd.hsm.quirks import Quirks
from strongroomd.hsm.sessions import Pool, Writer
from strongroomd.hsm.settings import HsmSettings
from strongroomd.hsm.tokenfile import TokenFileGuard

P = ParamSpec("P")
T = TypeVar("T")

WAIT: Final = 10.0  # seconds that a caller of these gives them
PAIR_WAIT: Final = 55.0
"""So long for an RSA-4096 pair, whose public half is lost if nobody waits; a lane hangs after 60 s."""
_QUEUE: Final = 64


class TokenObjects:
    """Reads and changes token objects.

    Args:
        settings: where the host's lock is.
        pool: opens read-write sessions.
        health: breaker and canary.
        sentinel: finds the object whose absence makes every answer worthless.
        guard: pushes files to the disk, for SoftHSM.
        observer: hears of calls.

    Attributes:
        lane: the thread that this work belongs on.
    """

    def __init__(
        self,
        settings: HsmSettings,
        pool: Pool,
        health: Health,
        sentinel: Packed,
        guard: TokenFileGuard | None,
        observer: Observer,
    ) -> None:
        self.lane = Lane("objects", 1, _QUEUE)
        self._settings = settings
        self._device = Device(Writer(pool), health, observer, forgiving=False)
        self._sentinel = sentinel
        self._guard = guard

    async def read_anchor(self) -> Anchor | None:
        """See `Vault.read_anchor`."""
        return await self._soon(self._look, self._read_anchor)

    async def write_anchor(self, anchor: Anchor) -> None:
        """See `Vault.write_anchor`."""
        await self._soon(self._write_anchor, anchor)

    async def reset_anchor(self, anchor: Anchor) -> None:
        """Have the token remember an older state, and no newer one, after an approved restore of it."""
        await self._soon(self._reset_anchor, anchor)

    async def list_resident(self) -> list[ResidentObject]:
        """See `Vault.list_resident`."""
        return await self._soon(self._look, resident.list_objects, self._sentinel)

    async def destroy_resident(self, hsm_id: str) -> None:
        """See `Vault.destroy_resident`."""
        await self._soon(self._destroy_resident, hsm_id)

    async def make_house_key(self, role: House, hsm_id: str) -> HouseMaterial:
        """See `Vault.make_house_key`."""
        wait = PAIR_WAIT if role is House.REPLICA else WAIT
        return await self.lane.run(time.monotonic() + wait, self._make_house_key, role, hsm_id)

    async def find_house_key(self, role: House, hsm_id: str) -> HouseMaterial | None:
        """See `Vault.find_house_key`."""
        return await self._soon(self._look, self._find_house_key, role, hsm_id)

    async def house_strangers(self, known: Collection[str]) -> list[str]:
        """See `Vault.house_strangers`."""
        return await self._soon(self._look, self._house_strangers, known)

    async def prove(self, record: HouseRecord, quirks: Quirks) -> int:
        """Find and prove a house key; gives its handle."""
        return await self._soon(self._look, prove, record, quirks)

    def make_resident(self, cradle: Cradle, spec: KeySpec, usage: KeyUsage, hsm_id: str) -> Material:
        """Make a resident key and push it to the disk; on the calling thread."""
        material = self.change("birth", cradle.resident, spec, usage, hsm_id)
        self._sync()
        return material

    def change(
        self, name: str, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do work on a read-write session of its own, never twice: what it does may not be repeatable.

        One process of the host at a time, and only after a look at the token as the others left it: SoftHSM
        counts its changes without that look, and would never see what another process did in between.
        """

        def seeing(session: Session) -> T:
            resident.demand_sentinel(session, self._sentinel)
            return work(session, *args, **kwargs)

        with login_lock(self._settings):
            return self._device.run_once(name, seeing)

    def _look(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Search while no other process changes anything.

        A search that began before an object was replaced, and looks at what it found after, sees neither the
        old one nor the new (seen under load: a worker found no anchor, and refused the store).
        """
        with login_lock(self._settings):
            return self._device.run("find", work, *args, **kwargs)

    async def _soon(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.lane.run(time.monotonic() + WAIT, work, *args, **kwargs)

    def _make_house_key(self, role: House, hsm_id: str) -> HouseMaterial:
        material = self.change("birth", housebirth.make, role, hsm_id)
        self._sync()
        return material

    def _find_house_key(self, session: Session, role: House, hsm_id: str) -> HouseMaterial | None:
        found = housebirth.find(session, role, hsm_id)
        resident.demand_sentinel(session, self._sentinel)
        return found

    def _house_strangers(self, session: Session, known: Collection[str]) -> list[str]:
        found = housebirth.strangers(session, known)
        resident.demand_sentinel(session, self._sentinel)
        return found

    def _read_anchor(self, session: Session) -> Anchor | None:
        anchor = anchors.read(session)
        resident.demand_sentinel(session, self._sentinel)
        return anchor

    def _write_anchor(self, anchor: Anchor) -> None:
        self.change("C_CreateObject", anchors.write, anchor)
        self._sync()
        self.change("C_DestroyObject", anchors.remove_older, anchor)

    def _reset_anchor(self, anchor: Anchor) -> None:
        self.change("C_CreateObject", anchors.write, anchor)
        self._sync()
        self.change("C_DestroyObject", anchors.remove_others, anchor)
        self._sync()

    def _destroy_resident(self, hsm_id: str) -> None:
        self.change("C_DestroyObject", resident.destroy, hsm_id)
        self._sync()
        self.change("find", resident.confirm_gone, hsm_id, self._sentinel)

    def _sync(self) -> None:
        if self._guard is not None:
            self._guard.sync()
