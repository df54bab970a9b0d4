"""The vault: `ports.Vault` on a PKCS#11 token.

Put together here from what it does with keys (uses.py), with the daemon's own keys (housework.py) and with
keys that come and go (deliveries.py); what is here itself is about the token: its objects, its lanes, how it
is. Everything that touches the caches runs on the loop's thread.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from strongroomd.domain.adoption import AdoptedObject, ObjectName
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.housekeys import House
from strongroomd.domain.keys import Anchor, BoundVersion, HouseMaterial, ResidentObject
from strongroomd.domain.records import HouseRecord
from strongroomd.domain.tokens import MAIN, demand_main
from strongroomd.hsm import adoption
from strongroomd.hsm.asymmetric import Asymmetric
from strongroomd.hsm.attestation import read_traits
from strongroomd.hsm.birth import Cradle
from strongroomd.hsm.ciphers import Ciphers
from strongroomd.hsm.deliveries import Deliveries
from strongroomd.hsm.description import describe
from strongroomd.hsm.device import Device, Health
from strongroomd.hsm.distant import Distant
from strongroomd.hsm.exercise import Exerciser
from strongroomd.hsm.exports import Departures
from strongroomd.hsm.holding import Berths, Holding
from strongroomd.hsm.house import Household
from strongroomd.hsm.housekeeping import Housekeeping
from strongroomd.hsm.housework import HouseWork, unavailable
from strongroomd.hsm.lanes import Lane
from strongroomd.hsm.loading import Loader
from strongroomd.hsm.login import Login
from strongroomd.hsm.mechanisms import Offer
from strongroomd.hsm.objects import TokenObjects
from strongroomd.hsm.observer import Observer
from strongroomd.hsm.pace import Pace
from strongroomd.hsm.quick import Quick
from strongroomd.hsm.sessions import Keeper, Pool
from strongroomd.hsm.settings import HsmSettings
from strongroomd.hsm.symmetric import Symmetric
from strongroomd.hsm.transport import Landing
from strongroomd.hsm.uses import KeyUses

EXERCISE_SECONDS = 2.0  # after which a token is as good as away for whoever asks how it is
# Seconds after which a running call of a lane counts as hanging; objects may wait for another process. A
# token on the quick lane is known to be slow: one that takes two seconds now and then is not given up for it.
_LIMITS: Final = {"quick": 3.0, "slow": 2.0, "birth": 60.0, "objects": 60.0}


@dataclass(frozen=True, slots=True)
class Parts:
    """What `opening.open_vault` puts together.

    Attributes:
        login: module, token and the login session.
        pool: operation sessions.
        keeper: owns objects loaded on the loop's thread.
        slow_keeper: owns objects loaded on the slow lane.
        health: breaker and canary.
        house: the daemon's own keys.
        offer: what the token can do.
        cradle: makes keys.
    """

    login: Login
    pool: Pool
    keeper: Keeper
    slow_keeper: Keeper
    health: Health
    house: Household
    offer: Offer
    cradle: Cradle


class TokenVault(KeyUses, HouseWork, Deliveries):
    """`ports.Vault` on one token, whatever its name; vaults.py asks each for what is its own.

    Made by `opening.open_vault`, on the loop's thread.

    Args:
        settings: bounds.
        parts: the opened token.
        observer: hears of calls, caches and sessions.
    """

    def __init__(self, settings: HsmSettings, parts: Parts, observer: Observer) -> None:
        module, health, house = parts.login.module, parts.health, parts.house
        forgiving = module.quirks.keeps_session_after_bad_data
        pace = Pace(observer, wary=settings.wary)
        device = Device(parts.pool, health, observer, forgiving=forgiving)
        here = Device(parts.pool, health, observer, forgiving=forgiving, pace=pace)
        keeper = Device(parts.keeper, health, observer, forgiving=True, pace=pace, whole=False)
        slow_keeper = Device(parts.slow_keeper, health, observer, forgiving=True)

        quick = Quick(settings.quick_threads, pace, observer)
        slow = Lane("slow", settings.slow_threads, settings.slow_queue, observer.waited)
        birth = Lane("birth", settings.birth_threads, settings.birth_queue, observer.waited)
        objects = TokenObjects(settings, parts.pool, health, house.sentinel, parts.login.guard, observer)
        self.housekeeping = Housekeeping(settings.name, house, objects, module.quirks)

        symmetric = Symmetric(here, keeper, settings.subkeys, module.direct, quick)
        held = Holding(
            settings,
            Loader(house, module.quirks, device),
            Berths(quick, keeper, slow, slow_keeper),
            symmetric,
            self.housekeeping.look_for,
        )
        distant = Distant(symmetric, device, module.released, quick, held.keys)
        asymmetric = Asymmetric(device, here, module.direct)
        KeyUses.__init__(self, held, symmetric, asymmetric, distant, pace, slow)
        HouseWork.__init__(self, house, health, here, device, quick, module)
        Deliveries.__init__(self, parts.cradle, parts.offer, Departures(house), device, objects, slow, birth)

        self._parts = parts
        self._exerciser = Exerciser(keeper, Ciphers(device, module.released))
        self._description = describe(module.library, parts.login.token)

    # --- what the worker watches ---

    @property
    def fatal(self) -> str | None:
        """Why this process must be replaced; None while the token can be used or may come back."""
        return self._parts.health.breaker.fatal

    def longest_call(self) -> tuple[str, float]:
        """Give the lane whose running call is nearest its limit, and that call's age in seconds."""
        lanes = (self._quick.lane, self._slow, self._birth, self._objects.lane)
        ages = [(lane.name, lane.longest()) for lane in lanes]
        return max(ages, key=lambda age: age[1] / _LIMITS[age[0]])

    def check(self) -> None:
        """Prove by a canary that the token works; any thread. Raises HSM_UNAVAILABLE."""
        self._parts.health.probe()

    def give_up(self, why: str) -> None:
        """Use this token no more in this process."""
        self._parts.health.breaker.give_up(why)

    def hanging(self) -> str | None:
        """Name the lane that has a call over its limit (quick 3 s, slow 2 s, else 60 s); None if none has."""
        kind, seconds = self.longest_call()
        return kind if seconds > _LIMITS[kind] else None

    def loaded(self) -> tuple[int, int]:
        """Count the keys and decryption sub-keys now held."""
        return len(self._keys), len(self._symmetric)

    @property
    def idle(self) -> bool:
        """Whether no call of a lane is inside the module, so that `close` will not wait."""
        return self.longest_call()[1] == 0

    def close(self) -> None:
        """Let the token go: caches, sessions, and last the login."""
        self._quick.lane.close()
        self._slow.close()
        self._birth.close()
        self._objects.lane.close()
        self._keys.clear()
        self._parts.keeper.close()
        self._parts.slow_keeper.close()
        self._parts.health.close()
        self._parts.pool.close(self._parts.login.session)

    # --- Vault: the token ---

    def tokens(self) -> tuple[str, ...]:
        """See `Vault.tokens`."""
        return (MAIN,)

    def usable(self, token: str) -> bool:
        """See `Vault.usable`: where it is alone, no other can be."""
        return token == MAIN

    def describe(self, token: str = MAIN) -> str:
        """See `Vault.describe`."""
        demand_main(token)
        return self._description

    async def probe(self) -> None:
        """See `Vault.probe`."""
        if self._pace.inline:
            self.check()
        else:
            await self._for_the_house(self.check)

    async def exercise(self, token: str = MAIN) -> float:
        """See `Vault.exercise`: always on a thread, so that a token that hangs does not hang the loop."""
        demand_main(token)
        try:
            return await self._quick.run(time.monotonic() + EXERCISE_SECONDS, self._exerciser.run)
        except StrongroomError as error:
            if error.reason is Reason.HSM_UNAVAILABLE:
                raise
            raise unavailable(f"the exercise failed: {error.detail or error.reason.value}") from error

    @property
    def serial(self) -> str:
        """The token's serial number."""
        return str(self._parts.login.token.serial.decode())

    # --- Vault: keys held for use ---

    async def prove(self, key: BoundVersion, *, deadline: float) -> None:
        """Load a version anew, which holds its material against its check value.

        Raises:
            StrongroomError: KEY_UNAVAILABLE when the material is missing or not the record's,
            HSM_UNAVAILABLE.
        """
        await self._held.prove(key, deadline)

    def forget(self, key_id: str) -> None:
        """See `Vault.forget`."""
        self._held.forget(key_id)

    def sweep(self) -> None:
        """Take keys over their age out of the token, and their sub-keys with them, used or not.

        To be called now and then: a key that nobody asks for would else stay for ever.
        """
        self._keys.sweep()

    # --- Vault: objects of the token ---

    async def examine(self, name: ObjectName, *, deadline: float, token: str = MAIN) -> AdoptedObject:
        """See `Vault.examine`."""
        demand_main(token)
        sentinel, work = self._house.sentinel, adoption.examine
        return await self._objects.lane.run(deadline, self._device.run_doubtful, "find", work, sentinel, name)

    async def traits(self, key: BoundVersion, *, deadline: float) -> dict[str, bool | None]:
        """See `Vault.traits`."""
        return await self._slow.run(deadline, self._held.loader.examine, key, read_traits)

    async def list_resident(self, token: str = MAIN) -> list[ResidentObject]:
        """See `Vault.list_resident`."""
        demand_main(token)
        return await self._objects.list_resident()

    async def destroy_resident(self, hsm_id: str, token: str = MAIN) -> None:
        """See `Vault.destroy_resident`."""
        demand_main(token)
        await self._objects.destroy_resident(hsm_id)

    async def read_anchor(self) -> Anchor | None:
        """See `Vault.read_anchor`."""
        return await self._objects.read_anchor()

    async def write_anchor(self, anchor: Anchor) -> None:
        """See `Vault.write_anchor`."""
        await self._objects.write_anchor(anchor)

    async def reset_anchor(self, anchor: Anchor) -> None:
        """Have the token remember an older state, and no newer one, after an approved restore of it."""
        await self._objects.reset_anchor(anchor)

    def landing(self) -> Landing:
        """Make a way for recovered keys into this token."""
        return Landing(self._parts.pool, self._parts.cradle)

    # --- Vault: house keys that come ---

    async def make_house_key(self, role: House, hsm_id: str, token: str = MAIN) -> HouseMaterial:
        """See `Vault.make_house_key`."""
        demand_main(token)
        return await self.housekeeping.make(role, hsm_id)

    async def find_house_key(self, role: House, hsm_id: str, token: str = MAIN) -> HouseMaterial | None:
        """See `Vault.find_house_key`."""
        demand_main(token)
        return await self.housekeeping.find(role, hsm_id)

    async def house_strangers(self, known: Collection[str], token: str = MAIN) -> list[str]:
        """See `Vault.house_strangers`."""
        demand_main(token)
        return await self.housekeeping.strangers(known)

    async def take_up(self, records: Sequence[HouseRecord]) -> None:
        """See `Vault.take_up`."""
        await self.housekeeping.take_up(records)

    async def know_mac_keys(self, records: Sequence[HouseRecord]) -> None:
        """See `Vault.know_mac_keys`."""
        await self.housekeeping.know_mac_keys(records)
