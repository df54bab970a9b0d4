"""Keys in the token, ready for use: loaded where that holds nobody up, and taken out when they leave.

Wrapped AES and HMAC keys take about as long as a call that uses them, and are loaded where such calls run: on
the loop's thread, or on the quick lane while the token is slow. All others are loaded on the slow lane.
Everything here belongs to the loop's thread.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from strongroomd.domain.algorithms import SPECS, KeyFamily
from strongroomd.domain.errors import StrongroomError
from strongroomd.domain.keys import BoundVersion
from strongroomd.domain.records import CustodyMode
from strongroomd.hsm.cache import HandleCache, LoadedKey
from strongroomd.hsm.device import Device
from strongroomd.hsm.faults import Fault, Refused
from strongroomd.hsm.handles import Session
from strongroomd.hsm.lanes import Lane
from strongroomd.hsm.loading import Loader
from strongroomd.hsm.loads import Loads
from strongroomd.hsm.quick import Quick
from strongroomd.hsm.settings import HsmSettings
from strongroomd.hsm.symmetric import Symmetric

_LOAD_SECONDS: Final = 10.0  # of a load, whoever waits for it: no caller's own deadline may fail the others


@dataclass(frozen=True, slots=True)
class Berths:
    """Where keys are loaded, and what owns them then.

    Attributes:
        quick: the lane of short loads, while the loop does not do them itself.
        keeper: owns what is loaded on the loop's thread or the quick lane.
        slow: the lane of long loads.
        slow_keeper: owns what is loaded there.
    """

    quick: Quick
    keeper: Device
    slow: Lane
    slow_keeper: Device


class Holding:
    """The keys that one token holds for use.

    Args:
        settings: how many keys, and for how long.
        loader: loads one.
        berths: where.
        symmetric: has the sub-keys, which leave with their key.
        look_for: looks into the store for a KEK that this process has not seen, by its id.

    Attributes:
        loader: as given.
        keys: those that are loaded.
    """

    def __init__(
        self,
        settings: HsmSettings,
        loader: Loader,
        berths: Berths,
        symmetric: Symmetric,
        look_for: Callable[[str], Awaitable[None]],
    ) -> None:
        observer = berths.keeper.observer
        self.loader = loader
        self.keys = HandleCache(
            settings.handles, settings.handle_seconds, self._destroy, self._renew, observer
        )
        self._berths = berths
        self._symmetric = symmetric
        self._look_for = look_for
        self._observer = observer
        self._loads = Loads(self.keys, self._loaded_by_token)

    async def load(self, key: BoundVersion, deadline: float) -> LoadedKey:
        """Load a key that is not loaded; see `Loads.load`."""
        return await self._loads.load(key, deadline)

    async def reload(self, key: BoundVersion, refused: Refused, deadline: float) -> LoadedKey:
        """After an invalid handle, load anew, once; any other refusal stands.

        So does one of an adopted key that may not do any more what it could: somebody changed the object, and
        the load says so.
        """
        changed = key.mode is CustodyMode.ADOPTED and refused.kind is Fault.REQUEST
        if refused.kind is not Fault.HANDLE and not changed:
            raise refused
        self._evict(key)
        return await self.load(key, deadline)

    async def prove(self, key: BoundVersion, deadline: float) -> None:
        """Load a version anew, which holds its material against its check value. Raises as `load`."""
        self._evict(key)
        await self.load(key, deadline)

    def forget(self, key_id: str) -> None:
        """See `Vault.forget`."""
        self.keys.forget(key_id)
        self._loads.forget(key_id)

    def _evict(self, key: BoundVersion) -> None:
        self.keys.evict((key.key_id, key.record.version))

    def _renew(self, old: LoadedKey) -> None:
        self._loads.renew(old)

    async def _loaded_by_token(self, key: BoundVersion) -> LoadedKey:
        deadline = time.monotonic() + _LOAD_SECONDS
        if key.mode is not CustodyMode.WRAPPED:
            return await self._loaded(key, deadline)
        await self._look_for(key.record.kek_id)
        loaded = await self._loaded(key, deadline)
        self._observer.leaked(3 if loaded.mask else 1)
        return loaded

    async def _loaded(self, key: BoundVersion, deadline: float) -> LoadedKey:
        berths, load = self._berths, self.loader.load
        if not _is_short(key):
            return await berths.slow.run(deadline, load, berths.slow_keeper, key)
        if berths.quick.unused:
            return load(berths.keeper, key)
        return await berths.quick.run(deadline, load, berths.keeper, key)

    def _destroy(self, key: LoadedKey) -> None:
        """Take an evicted key's objects out of the token; resident and adopted keys stay."""
        self._symmetric.forget(key)
        if key.device is None or not key.is_current():
            return
        if key.device is self._berths.keeper:
            self._berths.quick.tidy(_destroy_quietly, key)
        else:
            self._berths.slow.post(_destroy_quietly, key)


def _is_short(key: BoundVersion) -> bool:
    secret = SPECS[key.spec].family in (KeyFamily.AES, KeyFamily.HMAC)
    return secret and key.mode is CustodyMode.WRAPPED


def _destroy_quietly(key: LoadedKey) -> None:
    if key.device is not None and key.is_current():
        try:
            key.device.run_once("C_DestroyObject", _destroy_held, key)
        except StrongroomError:
            return  # a vanished object is as good as destroyed; the device has counted the error


def _destroy_held(_: Session, key: LoadedKey) -> None:
    key.held.destroy()
