"""The same as symmetric.py while the token is slow: caches on the loop, calls into the module on threads.

What a thread uses is pinned until that thread is done, however long ago its caller left.
"""

import asyncio
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Final, ParamSpec, TypeVar

from strongroomd.domain.algorithms import MacAlgorithm, Scheme
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.hsm.cache import HandleCache, LoadedKey, SubKey
from strongroomd.hsm.ciphers import Ciphers, forged
from strongroomd.hsm.device import Device
from strongroomd.hsm.direct import DirectCalls
from strongroomd.hsm.handles import IV_BYTES
from strongroomd.hsm.mechanisms import MACS
from strongroomd.hsm.quick import Quick
from strongroomd.hsm.symmetric import Symmetric
from strongroomd.hsm.xaes import NONCE_BYTES, PREFIX_BYTES, TAG_BYTES

P = ParamSpec("P")
T = TypeVar("T")

DERIVE_SECONDS: Final = 10.0  # of a derivation that several calls wait for, each until its own deadline


class Distant:
    """Seals, opens and signs on the quick lane.

    Args:
        symmetric: has the sub-keys.
        device: over the session pool.
        calls: into the module, without the GIL.
        quick: the lane.
        keys: pins keys.
    """

    def __init__(
        self, symmetric: Symmetric, device: Device, calls: DirectCalls, quick: Quick, keys: HandleCache
    ) -> None:
        self._symmetric = symmetric
        self._ciphers = Ciphers(device, calls)
        self._device = device
        self._calls = calls
        self._quick = quick
        self._keys = keys
        self._deriving: dict[LoadedKey, asyncio.Task[SubKey]] = {}

    async def seal(self, key: LoadedKey, plaintext: bytes, aad: bytes, deadline: float) -> bytes:
        """See `Symmetric.seal`."""
        return await self.seal_apart(key, plaintext, lambda _: aad, deadline)

    async def seal_apart(
        self, key: LoadedKey, plaintext: bytes, aad_of: Callable[[bytes], bytes], deadline: float
    ) -> bytes:
        """The same with an AAD that depends on the prefix, which is empty under AES-GCM."""
        if key.bound.record.scheme is Scheme.AES_GCM:
            iv = os.urandom(IV_BYTES)
            work = self._ciphers.encrypt
            return iv + await self.use(key, None, deadline, work, key.handle, iv, aad_of(b""), plaintext)
        self._keys.pin(key)  # else a key that was evicted takes the sub-key along before its waiters use it
        try:
            subkey = self._symmetric.sealing(key) or await self._next_sealing(key, deadline)
            return await self._seal_under(key, subkey, plaintext, aad_of(subkey.prefix), deadline)
        finally:
            self._keys.unpin(key)

    async def _seal_under(
        self, key: LoadedKey, subkey: SubKey, plaintext: bytes, aad: bytes, deadline: float
    ) -> bytes:
        subkey.messages += 1
        iv, encrypt = os.urandom(NONCE_BYTES - PREFIX_BYTES), self._ciphers.encrypt
        body = await self.use(key, subkey, deadline, encrypt, subkey.handle, iv, aad, plaintext)
        return subkey.prefix + iv + body

    async def open(self, key: LoadedKey, sealed: bytes, aad: bytes, deadline: float) -> bytes:
        """See `Symmetric.open`."""
        if key.bound.record.scheme is Scheme.AES_GCM:
            return await self.use(key, None, deadline, self._ciphers.decrypt, key.handle, sealed, aad)
        if len(sealed) < NONCE_BYTES + TAG_BYTES:
            raise forged()
        prefix, rest = sealed[:PREFIX_BYTES], sealed[PREFIX_BYTES:]
        subkey = self._symmetric.known(key, prefix)
        if subkey is None:
            keep = asyncio.get_running_loop().call_soon_threadsafe
            return await self.use(key, None, deadline, self._open_first, key, prefix, rest, aad, keep)
        return await self.use(key, subkey, deadline, self._ciphers.decrypt, subkey.handle, rest, aad)

    async def mac(self, key: LoadedKey, algorithm: MacAlgorithm, message: bytes, deadline: float) -> bytes:
        """See `Symmetric.mac`."""
        run, sign, mechanism = self._device.run, self._calls.sign, MACS[algorithm]
        work = partial(run, "C_Sign", sign, key.handle, mechanism, message)
        return await self.use(key, None, deadline, work)

    async def use(
        self,
        key: LoadedKey,
        subkey: SubKey | None,
        deadline: float,
        work: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Do work with a key, and maybe one of its sub-keys, on the lane."""
        loop = asyncio.get_running_loop()
        self._keys.pin(key)
        if subkey is not None:
            self._symmetric.pin(subkey)
        return await self._quick.run_then(
            lambda: loop.call_soon_threadsafe(self._unpin, key, subkey), deadline, work, *args, **kwargs
        )

    def _unpin(self, key: LoadedKey, subkey: SubKey | None) -> None:
        if subkey is not None:
            self._symmetric.unpin(subkey)
        self._keys.unpin(key)

    def _open_first(
        self, key: LoadedKey, prefix: bytes, sealed: bytes, aad: bytes, later: Callable[..., object]
    ) -> bytes:
        """Derive and decrypt in one go; the loop keeps the sub-key if a tag has verified."""
        subkey = self._symmetric.derive(key, prefix)
        try:
            plaintext = self._ciphers.decrypt(subkey.handle, sealed, aad)
        except BaseException:
            self._symmetric.destroy(subkey)
            raise
        later(self._symmetric.keep, subkey)
        return plaintext

    async def _next_sealing(self, key: LoadedKey, deadline: float) -> SubKey:
        """Have the next sub-key made once, however many calls wait for it."""
        task = self._deriving.get(key)
        if task is None:
            task = self._deriving[key] = asyncio.ensure_future(self._renewed(key))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await asyncio.shield(task)
        except TimeoutError:
            raise StrongroomError(Reason.DEADLINE_EXCEEDED) from None

    async def _renewed(self, key: LoadedKey) -> SubKey:
        self._keys.pin(key)  # until the sub-key is where it is found when the key goes
        try:
            due, derive = time.monotonic() + DERIVE_SECONDS, self._symmetric.derive
            fresh = await self.use(key, None, due, derive, key, os.urandom(PREFIX_BYTES))
            return self._symmetric.renew(key, fresh)
        finally:
            del self._deriving[key]
            self._keys.unpin(key)
