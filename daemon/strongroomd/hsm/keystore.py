"""The vault: `ports.Vault` on a PKCS#11 token.

Short calls (AES, HMAC, P-256) run on the event loop's thread, since a hop to another costs more than they
do, but on the quick lane while the token takes long for them (pace.py); RSA, slower curves and loading of
pairs run on the slow lane, RSA generation on the birth lane, so that it never blocks signing. Everything
that touches the caches runs on the loop's thread.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from pkcs11.mechanisms import Mechanism

from strongroomd.domain.adoption import AdoptedObject, ObjectName
from strongroomd.domain.algorithms import (
    SPECS,
    EncryptionAlgorithm,
    KeyFamily,
    KeySpec,
    KeyUsage,
    MacAlgorithm,
    SigningAlgorithm,
)
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import Anchor, BoundVersion, Material, ResidentObject
from strongroomd.domain.limits import MAX_RANDOM
from strongroomd.domain.records import CustodyMode
from strongroomd.domain.tokens import MAIN
from strongroomd.hsm import adoption
from strongroomd.hsm.asymmetric import Asymmetric
from strongroomd.hsm.birth import Cradle
from strongroomd.hsm.cache import HandleCache, LoadedKey
from strongroomd.hsm.ciphers import Ciphers
from strongroomd.hsm.description import describe
from strongroomd.hsm.device import FIRST_PAUSE, Device, Health
from strongroomd.hsm.distant import Distant
from strongroomd.hsm.exercise import Exerciser
from strongroomd.hsm.faults import Fault, Refused
from strongroomd.hsm.handles import Session
from strongroomd.hsm.house import Household, sign_digest
from strongroomd.hsm.lanes import Lane
from strongroomd.hsm.leaving import release_pair
from strongroomd.hsm.loading import Loader
from strongroomd.hsm.loads import Loads
from strongroomd.hsm.login import Login
from strongroomd.hsm.mechanisms import INLINE_SIGNING, Offer
from strongroomd.hsm.objects import TokenObjects
from strongroomd.hsm.observer import Observer
from strongroomd.hsm.pace import Pace
from strongroomd.hsm.quick import Quick
from strongroomd.hsm.sessions import Keeper, Pool
from strongroomd.hsm.settings import HsmSettings
from strongroomd.hsm.symmetric import Symmetric

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")

EXERCISE_SECONDS = 2.0  # after which a token is as good as away for whoever asks how it is
_ROW_MAC = Mechanism.SHA256_HMAC
# Seconds after which a running call of a lane counts as hanging; objects may wait for another process. A
# token on the quick lane is known to be slow: one that takes two seconds now and then is not given up for it.
_LIMITS = {"quick": 3.0, "slow": 2.0, "birth": 60.0, "objects": 60.0}
_LOAD_SECONDS = 10.0  # of a load, whoever waits for it: no caller's own deadline may fail the others
_HOUSE_SECONDS = 5.0  # of the daemon's own work, which has no caller


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


class TokenVault:
    """`ports.Vault` on one token, whatever its name; vaults.py asks each for what is its own.

    Made by `opening.open_vault`, on the loop's thread.

    Args:
        settings: bounds.
        parts: the opened token.
        observer: hears of calls, caches and sessions.
    """

    def __init__(self, settings: HsmSettings, parts: Parts, observer: Observer) -> None:
        forgiving = parts.login.module.quirks.keeps_session_after_bad_data
        self._parts = parts
        self._house = parts.house
        self._observer = observer
        self._pace = pace = Pace(observer, wary=settings.wary)
        self._quick = quick = Quick(settings.quick_threads, pace, observer)
        self._device = Device(parts.pool, parts.health, observer, forgiving=forgiving)
        self._here = Device(parts.pool, parts.health, observer, forgiving=forgiving, pace=pace)
        self._keeper = Device(parts.keeper, parts.health, observer, forgiving=True, pace=pace, whole=False)
        self._slow_keeper = Device(parts.slow_keeper, parts.health, observer, forgiving=True)
        self._objects = TokenObjects(
            settings, parts.pool, parts.health, parts.house.sentinel, parts.login.guard, observer
        )
        self._slow = Lane("slow", settings.slow_threads, settings.slow_queue, observer.waited)
        self._birth = Lane("birth", settings.birth_threads, settings.birth_queue, observer.waited)
        self._loader = Loader(parts.house, parts.login.module.quirks, self._device)
        self._calls, self._released = parts.login.module.direct, parts.login.module.released
        self._asymmetric = Asymmetric(self._device, self._here, self._calls)
        self._symmetric = Symmetric(self._here, self._keeper, settings.subkeys, self._calls, quick)
        self._keys = HandleCache(
            settings.handles, settings.handle_seconds, self._destroy, self._renew, observer
        )
        self._distant = Distant(self._symmetric, self._device, self._released, quick, self._keys)
        self._exerciser = Exerciser(self._keeper, Ciphers(self._device, self._released))
        self._description = describe(parts.login.module.library, parts.login.token)
        self._loads = Loads(self._keys, self._loaded_by_token)

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

    # --- Vault ---

    def tokens(self) -> tuple[str, ...]:
        """See `Vault.tokens`."""
        return (MAIN,)

    def usable(self, token: str) -> bool:
        """See `Vault.usable`: where it is alone, no other can be."""
        return token == MAIN

    def placement(
        self,
        spec: KeySpec,
        usage: KeyUsage,
        mode: CustodyMode | None,
        *,
        exportable: bool,
        token: str = MAIN,
    ) -> tuple[CustodyMode, str]:
        """See `Vault.placement`."""
        _demand_main(token)
        return self._parts.offer.placement(spec, usage, mode, exportable=exportable)

    async def generate(
        self,
        spec: KeySpec,
        usage: KeyUsage,
        mode: CustodyMode,
        *,
        exportable: bool,
        hsm_id: str,
        deadline: float,
        token: str = MAIN,
    ) -> Material:
        """See `Vault.generate`."""
        self.placement(spec, usage, mode, exportable=exportable, token=token)
        if mode is CustodyMode.RESIDENT:
            lane = self._birth if SPECS[spec].family is KeyFamily.RSA else self._objects.lane
            return await lane.run(
                deadline, self._objects.make_resident, self._parts.cradle, spec, usage, hsm_id
            )
        return await self._lane_of_birth(spec).run(deadline, self._make_wrapped, spec, usage, exportable)

    async def examine(self, name: ObjectName, *, deadline: float, token: str = MAIN) -> AdoptedObject:
        """See `Vault.examine`."""
        _demand_main(token)
        sentinel, work = self._house.sentinel, adoption.examine
        return await self._objects.lane.run(deadline, self._device.run_doubtful, "find", work, sentinel, name)

    async def seal(self, key: BoundVersion, plaintext: bytes, aad: bytes, *, deadline: float) -> bytes:
        """See `Vault.seal`."""
        loaded = self._keys.get(key) or await self._load(key, deadline)
        try:
            made = self._symmetric.seal(loaded, plaintext, aad) if self._pace.inline else None
        except Refused as refused:
            loaded = await self._reload(key, refused, deadline)
            return await self._distant.seal(loaded, plaintext, aad, deadline)
        if made is None:
            return await self._distantly(loaded, deadline, self._distant.seal, plaintext, aad)
        return made

    async def seal_apart(
        self, key: BoundVersion, plaintext: bytes, aad_of: Callable[[bytes], bytes], *, deadline: float
    ) -> bytes:
        """See `Vault.seal_apart`."""
        loaded = self._keys.get(key) or await self._load(key, deadline)
        try:
            made = self._symmetric.seal_apart(loaded, plaintext, aad_of) if self._pace.inline else None
        except Refused as refused:
            loaded = await self._reload(key, refused, deadline)
            return await self._distant.seal_apart(loaded, plaintext, aad_of, deadline)
        if made is None:
            return await self._distantly(loaded, deadline, self._distant.seal_apart, plaintext, aad_of)
        return made

    async def open(self, key: BoundVersion, sealed: bytes, aad: bytes, *, deadline: float) -> bytes:
        """See `Vault.open`."""
        loaded = self._keys.get(key) or await self._load(key, deadline)
        try:
            made = self._symmetric.open(loaded, sealed, aad) if self._pace.inline else None
        except Refused as refused:
            loaded = await self._reload(key, refused, deadline)
            return await self._distant.open(loaded, sealed, aad, deadline)
        if made is None:
            return await self._distantly(loaded, deadline, self._distant.open, sealed, aad)
        return made

    async def mac(
        self, key: BoundVersion, algorithm: MacAlgorithm, message: bytes, *, deadline: float
    ) -> bytes:
        """See `Vault.mac`."""
        loaded = self._keys.get(key) or await self._load(key, deadline)
        if not self._pace.inline:
            return await self._distantly(loaded, deadline, self._distant.mac, algorithm, message)
        try:
            return self._symmetric.mac(loaded, algorithm, message)
        except Refused as refused:
            loaded = await self._reload(key, refused, deadline)
        return self._symmetric.mac(loaded, algorithm, message)

    async def sign(
        self, key: BoundVersion, algorithm: SigningAlgorithm, data: bytes, *, deadline: float
    ) -> bytes:
        """See `Vault.sign`."""
        if key.spec not in INLINE_SIGNING:
            return await self._on_slow_lane(key, deadline, self._asymmetric.sign, algorithm, data)
        loaded = self._keys.get(key) or await self._load(key, deadline)
        if not self._pace.inline:
            return await self._distantly(loaded, deadline, self._sign_distantly, algorithm, data)
        try:
            return self._asymmetric.sign_here(loaded, algorithm, data)
        except Refused as refused:
            loaded = await self._reload(key, refused, deadline)
        return self._asymmetric.sign_here(loaded, algorithm, data)

    async def rsa_decrypt(
        self, key: BoundVersion, algorithm: EncryptionAlgorithm, ciphertext: bytes, *, deadline: float
    ) -> bytes:
        """See `Vault.rsa_decrypt`."""
        return await self._on_slow_lane(key, deadline, self._asymmetric.decrypt, algorithm, ciphertext)

    async def agree(self, key: BoundVersion, peer: bytes, *, deadline: float) -> bytes:
        """See `Vault.agree`."""
        return await self._on_slow_lane(key, deadline, self._asymmetric.agree, peer)

    async def data_key_pair(self, spec: KeySpec, *, deadline: float) -> tuple[bytearray, bytes]:
        """See `Vault.data_key_pair`."""
        return await self._lane_of_birth(spec).run(deadline, self._release_pair, spec)

    async def random(self, length: int) -> bytes:
        """See `Vault.random`."""
        if not 0 < length <= MAX_RANDOM:
            raise StrongroomError(
                Reason.INVALID_FIELD, f"1 to {MAX_RANDOM} bytes can be asked for", field="length"
            )
        if self._pace.inline:
            token = self._here.run("C_GenerateRandom", _random, length)
        else:
            token = await self._for_the_house(self._device.run, "C_GenerateRandom", _random, length)
        host = os.urandom(length)
        return bytes(a ^ b for a, b in zip(token, host, strict=True))

    async def row_mac(self, data: bytes) -> bytes:
        """See `Vault.row_mac`."""
        mac = (self._house.row_mac, _ROW_MAC, data)
        if self._pace.inline:
            return self._with_house(self._here, self._calls.sign, *mac)
        return await self._for_the_house(partial(self._with_house, self._device, self._released.sign, *mac))

    async def sign_checkpoint(self, data: bytes) -> bytes:
        """See `Vault.sign_checkpoint`."""
        digest = hashlib.sha256(data).digest()
        if self._pace.inline:
            return self._with_house(self._here, sign_digest, self._house.checkpoint, digest)
        return await self._for_the_house(
            partial(self._with_house, self._device, sign_digest, self._house.checkpoint, digest)
        )

    async def read_anchor(self) -> Anchor | None:
        """See `Vault.read_anchor`."""
        return await self._objects.read_anchor()

    async def write_anchor(self, anchor: Anchor) -> None:
        """See `Vault.write_anchor`."""
        await self._objects.write_anchor(anchor)

    async def list_resident(self, token: str = MAIN) -> list[ResidentObject]:
        """See `Vault.list_resident`."""
        _demand_main(token)
        return await self._objects.list_resident()

    async def destroy_resident(self, hsm_id: str, token: str = MAIN) -> None:
        """See `Vault.destroy_resident`."""
        _demand_main(token)
        await self._objects.destroy_resident(hsm_id)

    def forget(self, key_id: str) -> None:
        """See `Vault.forget`."""
        self._keys.forget(key_id)
        self._loads.forget(key_id)

    async def probe(self) -> None:
        """See `Vault.probe`."""
        if self._pace.inline:
            self.check()
        else:
            await self._for_the_house(self.check)

    async def exercise(self, token: str = MAIN) -> float:
        """See `Vault.exercise`: always on a thread, so that a token that hangs does not hang the loop."""
        _demand_main(token)
        try:
            return await self._quick.run(time.monotonic() + EXERCISE_SECONDS, self._exerciser.run)
        except StrongroomError as error:
            if error.reason is Reason.HSM_UNAVAILABLE:
                raise
            raise _unavailable(f"the exercise failed: {error.detail or error.reason.value}") from error

    def describe(self, token: str = MAIN) -> str:
        """See `Vault.describe`."""
        _demand_main(token)
        return self._description

    def sweep(self) -> None:
        """Take keys over their age out of the token, and their sub-keys with them, used or not.

        To be called now and then: a key that nobody asks for would else stay for ever.
        """
        self._keys.sweep()

    # --- loading ---

    async def _load(self, key: BoundVersion, deadline: float) -> LoadedKey:
        return await self._loads.load(key, deadline)

    def _renew(self, old: LoadedKey) -> None:
        self._loads.renew(old)

    async def _loaded_by_token(self, key: BoundVersion) -> LoadedKey:
        deadline = time.monotonic() + _LOAD_SECONDS
        if _is_short(key) and self._quick.unused:
            loaded = self._loader.load(self._keeper, key)
        elif _is_short(key):
            loaded = await self._quick.run(deadline, self._loader.load, self._keeper, key)
        else:
            loaded = await self._slow.run(deadline, self._loader.load, self._slow_keeper, key)
        if key.mode is CustodyMode.WRAPPED:
            self._observer.leaked(3 if loaded.mask else 1)
        return loaded

    async def _reload(self, key: BoundVersion, refused: Refused, deadline: float) -> LoadedKey:
        """After an invalid handle, load anew, once; any other refusal stands.

        So does one of an adopted key that may not do any more what it could: somebody changed the object, and
        the load says so.
        """
        changed = key.mode is CustodyMode.ADOPTED and refused.kind is Fault.REQUEST
        if refused.kind is not Fault.HANDLE and not changed:
            raise refused
        self._keys.evict((key.key_id, key.record.version))
        return await self._load(key, deadline)

    async def _distantly(
        self,
        loaded: LoadedKey,
        deadline: float,
        work: Callable[[LoadedKey, A, B, float], Awaitable[bytes]],
        first: A,
        second: B,
    ) -> bytes:
        """Work on the quick lane; the key is loaded anew once, as on the loop."""
        try:
            return await work(loaded, first, second, deadline)
        except Refused as refused:
            loaded = await self._reload(loaded.bound, refused, deadline)
        return await work(loaded, first, second, deadline)

    async def _sign_distantly(
        self, loaded: LoadedKey, algorithm: SigningAlgorithm, data: bytes, deadline: float
    ) -> bytes:
        return await self._distant.use(loaded, None, deadline, self._asymmetric.sign, loaded, algorithm, data)

    async def _for_the_house(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the daemon's own short work on the quick lane. Raises HSM_UNAVAILABLE when it takes too long."""
        try:
            return await self._quick.run(time.monotonic() + _HOUSE_SECONDS, work, *args, **kwargs)
        except StrongroomError as error:
            if error.reason is Reason.DEADLINE_EXCEEDED:
                raise _unavailable("the token takes too long") from error
            raise

    async def _on_slow_lane(
        self,
        key: BoundVersion,
        deadline: float,
        work: Callable[Concatenate[LoadedKey, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        loaded = self._keys.get(key) or await self._load(key, deadline)
        try:
            return await self._pinned(loaded, deadline, work, *args, **kwargs)
        except Refused as refused:
            loaded = await self._reload(key, refused, deadline)
        return await self._pinned(loaded, deadline, work, *args, **kwargs)

    async def _pinned(
        self,
        loaded: LoadedKey,
        deadline: float,
        work: Callable[Concatenate[LoadedKey, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run on the slow lane; the pin goes when the thread is done, even if the caller left before."""
        loop = asyncio.get_running_loop()
        self._keys.pin(loaded)
        return await self._slow.run_then(
            lambda: loop.call_soon_threadsafe(self._keys.unpin, loaded),
            deadline,
            work,
            loaded,
            *args,
            **kwargs,
        )

    def _destroy(self, key: LoadedKey) -> None:
        """Take an evicted key's objects out of the token; resident and adopted keys stay."""
        self._symmetric.forget(key)
        if key.device is None or not key.is_current():
            return
        if key.device is self._keeper:
            self._quick.tidy(_destroy_quietly, key)
        else:
            self._slow.post(_destroy_quietly, key)

    # --- work of the lanes ---

    def _with_house(
        self,
        device: Device,
        work: Callable[Concatenate[Session, P], bytes],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> bytes:
        """Use a house key; when its handle is gone, so is the token as this process knew it."""
        try:
            return device.run("C_Sign", work, *args, **kwargs)
        except Refused as refused:
            if refused.kind is Fault.HANDLE:
                self._parts.health.breaker.give_up("a house key vanished from the token")
            raise

    def _lane_of_birth(self, spec: KeySpec) -> Lane:
        return self._birth if SPECS[spec].family is KeyFamily.RSA else self._slow

    def _make_wrapped(self, spec: KeySpec, usage: KeyUsage, exportable: bool) -> Material:  # noqa: FBT001
        material = self._device.run("birth", self._parts.cradle.wrapped, spec, usage, exportable=exportable)
        self._observer.leaked(4)
        return material

    def _release_pair(self, spec: KeySpec) -> tuple[bytearray, bytes]:
        pair = self._device.run("birth", release_pair, spec)
        self._observer.leaked(2)
        return pair


def _demand_main(token: str) -> None:
    """Refuse what is meant for another token."""
    if token:
        raise StrongroomError(Reason.HSM_UNAVAILABLE, detail=f"token {token} is not configured")


def _unavailable(detail: str) -> StrongroomError:
    return StrongroomError(Reason.HSM_UNAVAILABLE, detail=detail, retry_after=FIRST_PAUSE)


def _random(session: Session, length: int) -> bytes:
    return session.generate_random(length * 8)  # type: ignore[no-any-return]


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
