"""What callers have keys do: seal, open, sign, MAC, agree; each on the thread that it holds up least.

Short calls (AES, HMAC, P-256) run on the event loop's thread, since a hop to another costs more than they
do, but on the quick lane while the token takes long for them (pace.py); RSA and slower curves run on the slow
lane. A key whose handle is no longer good is loaded anew, once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Concatenate, ParamSpec, TypeVar

from strongroomd.domain.algorithms import EncryptionAlgorithm, MacAlgorithm, SigningAlgorithm
from strongroomd.domain.keys import BoundVersion
from strongroomd.hsm.asymmetric import Asymmetric
from strongroomd.hsm.cache import LoadedKey
from strongroomd.hsm.distant import Distant
from strongroomd.hsm.faults import Refused
from strongroomd.hsm.holding import Holding
from strongroomd.hsm.lanes import Lane
from strongroomd.hsm.mechanisms import INLINE_SIGNING
from strongroomd.hsm.pace import Pace
from strongroomd.hsm.symmetric import Symmetric

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")


class KeyUses:
    """The methods of `ports.Vault` that use a key version.

    Args:
        held: loads keys.
        symmetric: AES and HMAC on the loop's thread.
        asymmetric: RSA and elliptic curves.
        distant: what runs on the quick lane.
        pace: says whether short calls run on the loop.
        slow: the lane of long calls.
    """

    def __init__(
        self,
        held: Holding,
        symmetric: Symmetric,
        asymmetric: Asymmetric,
        distant: Distant,
        pace: Pace,
        slow: Lane,
    ) -> None:
        self._held = held
        self._keys = held.keys
        self._symmetric = symmetric
        self._asymmetric = asymmetric
        self._distant = distant
        self._pace = pace
        self._slow = slow

    # The hot path. These three are written out alike: what they share would cost each of them a call more.

    async def seal(self, key: BoundVersion, plaintext: bytes, aad: bytes, *, deadline: float) -> bytes:
        """See `Vault.seal`."""
        loaded = self._keys.get(key) or await self._held.load(key, deadline)
        try:
            made = self._symmetric.seal(loaded, plaintext, aad) if self._pace.inline else None
        except Refused as refused:
            return await self._anew(key, refused, deadline, self._distant.seal, plaintext, aad)
        if made is None:
            return await self._distantly(loaded, deadline, self._distant.seal, plaintext, aad)
        return made

    async def seal_apart(
        self, key: BoundVersion, plaintext: bytes, aad_of: Callable[[bytes], bytes], *, deadline: float
    ) -> bytes:
        """See `Vault.seal_apart`."""
        loaded = self._keys.get(key) or await self._held.load(key, deadline)
        try:
            made = self._symmetric.seal_apart(loaded, plaintext, aad_of) if self._pace.inline else None
        except Refused as refused:
            return await self._anew(key, refused, deadline, self._distant.seal_apart, plaintext, aad_of)
        if made is None:
            return await self._distantly(loaded, deadline, self._distant.seal_apart, plaintext, aad_of)
        return made

    async def open(self, key: BoundVersion, sealed: bytes, aad: bytes, *, deadline: float) -> bytes:
        """See `Vault.open`."""
        loaded = self._keys.get(key) or await self._held.load(key, deadline)
        try:
            made = self._symmetric.open(loaded, sealed, aad) if self._pace.inline else None
        except Refused as refused:
            return await self._anew(key, refused, deadline, self._distant.open, sealed, aad)
        if made is None:
            return await self._distantly(loaded, deadline, self._distant.open, sealed, aad)
        return made

    async def mac(
        self, key: BoundVersion, algorithm: MacAlgorithm, message: bytes, *, deadline: float
    ) -> bytes:
        """See `Vault.mac`."""
        loaded = self._keys.get(key) or await self._held.load(key, deadline)
        if not self._pace.inline:
            return await self._distantly(loaded, deadline, self._distant.mac, algorithm, message)
        try:
            return self._symmetric.mac(loaded, algorithm, message)
        except Refused as refused:
            loaded = await self._held.reload(key, refused, deadline)
        return self._symmetric.mac(loaded, algorithm, message)

    async def sign(
        self, key: BoundVersion, algorithm: SigningAlgorithm, data: bytes, *, deadline: float
    ) -> bytes:
        """See `Vault.sign`."""
        if key.spec not in INLINE_SIGNING:
            return await self._on_slow_lane(key, deadline, self._asymmetric.sign, algorithm, data)
        loaded = self._keys.get(key) or await self._held.load(key, deadline)
        if not self._pace.inline:
            return await self._distantly(loaded, deadline, self._sign_distantly, algorithm, data)
        try:
            return self._asymmetric.sign_here(loaded, algorithm, data)
        except Refused as refused:
            loaded = await self._held.reload(key, refused, deadline)
        return self._asymmetric.sign_here(loaded, algorithm, data)

    async def rsa_decrypt(
        self, key: BoundVersion, algorithm: EncryptionAlgorithm, ciphertext: bytes, *, deadline: float
    ) -> bytes:
        """See `Vault.rsa_decrypt`."""
        return await self._on_slow_lane(key, deadline, self._asymmetric.decrypt, algorithm, ciphertext)

    async def agree(self, key: BoundVersion, peer: bytes, *, deadline: float) -> bytes:
        """See `Vault.agree`."""
        return await self._on_slow_lane(key, deadline, self._asymmetric.agree, peer)

    # --- on the lanes ---

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
            return await self._anew(loaded.bound, refused, deadline, work, first, second)

    async def _anew(
        self,
        key: BoundVersion,
        refused: Refused,
        deadline: float,
        work: Callable[[LoadedKey, A, B, float], Awaitable[bytes]],
        first: A,
        second: B,
    ) -> bytes:
        """Work on the quick lane with a key that is loaded anew, if that may help."""
        loaded = await self._held.reload(key, refused, deadline)
        return await work(loaded, first, second, deadline)

    async def _sign_distantly(
        self, loaded: LoadedKey, algorithm: SigningAlgorithm, data: bytes, deadline: float
    ) -> bytes:
        return await self._distant.use(loaded, None, deadline, self._asymmetric.sign, loaded, algorithm, data)

    async def _on_slow_lane(
        self,
        key: BoundVersion,
        deadline: float,
        work: Callable[Concatenate[LoadedKey, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        loaded = self._keys.get(key) or await self._held.load(key, deadline)
        try:
            return await self._pinned(loaded, deadline, work, *args, **kwargs)
        except Refused as refused:
            loaded = await self._held.reload(key, refused, deadline)
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
