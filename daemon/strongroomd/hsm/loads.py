"""Loads on their way: each key once, however many calls wait for it. It all belongs to the loop's thread."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import BoundVersion
from strongroomd.domain.records import CustodyMode
from strongroomd.hsm.cache import HandleCache, LoadedKey

ABSENT_SECONDS: Final = 1.0  # for which an object that was not found, or was another, is not looked for again
_Name = tuple[str, int]


@dataclass(slots=True, eq=False)
class _Loading:
    """A load on its way.

    Attributes:
        future: ends with the key, which is pinned for all who wait.
        waiters: calls that wait.
        loaded: the key, once it is there.
        forgotten: the key was forgotten meanwhile: those who wait may use it, nobody after them.
    """

    future: "asyncio.Future[LoadedKey]" = field(init=False)
    waiters: int = 0
    loaded: LoadedKey | None = None
    forgotten: bool = False


@dataclass(frozen=True, slots=True)
class _Absence:
    """A token object that was not found, or was another: whose, until when that is believed, and why."""

    bound: BoundVersion
    until: float
    detail: str | None


class Loads:
    """Loads keys into a cache.

    Args:
        keys: the cache.
        by_token: has the token load a version. Raises KEY_UNAVAILABLE, HSM_UNAVAILABLE.
    """

    def __init__(self, keys: HandleCache, by_token: Callable[[BoundVersion], Awaitable[LoadedKey]]) -> None:
        self._keys = keys
        self._by_token = by_token
        self._loading: dict[_Name, _Loading] = {}
        self._absent: dict[_Name, _Absence] = {}

    def __len__(self) -> int:
        """How many loads are on their way."""
        return len(self._loading)

    async def load(self, key: BoundVersion, deadline: float) -> LoadedKey:
        """Load a key once, however many calls wait for it, each no longer than its own deadline.

        The key stays pinned until the caller's present turn of the loop ends: however small the cache, a key
        is not destroyed between being loaded and being used.

        Raises:
            StrongroomError: DEADLINE_EXCEEDED, and as `by_token`.
        """
        name = _name_of(key)
        if name in self._absent:
            self._refuse_absent(name, key)
        loading = self._loading.get(name) or self._begin(key)
        loading.waiters += 1
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await asyncio.shield(loading.future)
        except TimeoutError:
            raise StrongroomError(Reason.DEADLINE_EXCEEDED) from None
        finally:
            asyncio.get_running_loop().call_soon(self._left, loading)

    def renew(self, old: LoadedKey) -> None:
        """Load a key anew while it is used; if it is not what it was, it is used no more."""
        if _name_of(old.bound) not in self._loading:
            self._begin(old.bound).future.add_done_callback(partial(self._renewed, old))

    def forget(self, key_id: str) -> None:
        """Let nobody use what is on its way but those who wait for it; look for what was absent again."""
        for name in [name for name in self._loading if name[0] == key_id]:
            self._loading.pop(name).forgotten = True
        for name in [name for name in self._absent if name[0] == key_id]:
            del self._absent[name]

    def _begin(self, key: BoundVersion) -> _Loading:
        loading = self._loading[_name_of(key)] = _Loading()
        loading.future = asyncio.ensure_future(self._load(key, loading))
        return loading

    def _renewed(self, old: LoadedKey, future: "asyncio.Future[LoadedKey]") -> None:
        error = None if future.cancelled() else future.exception()
        if isinstance(error, StrongroomError) and error.reason is Reason.KEY_UNAVAILABLE:
            self._keys.evict(_name_of(old.bound))

    def _refuse_absent(self, name: _Name, key: BoundVersion) -> None:
        """Refuse what was not found just now: a search takes the longer the more the token has, and a thread.

        Raises:
            StrongroomError: KEY_UNAVAILABLE.
        """
        absence = self._absent[name]
        if absence.bound is key and time.monotonic() < absence.until:
            raise StrongroomError(Reason.KEY_UNAVAILABLE, detail=absence.detail)
        del self._absent[name]

    def _left(self, loading: _Loading) -> None:
        """One call waits no more; the last one's pin goes with it."""
        loading.waiters -= 1
        if loading.waiters == 0 and loading.loaded is not None:
            self._keys.unpin(loading.loaded)

    async def _load(self, key: BoundVersion, loading: _Loading) -> LoadedKey:
        name = _name_of(key)
        try:
            loaded = await self._by_token(key)
        except StrongroomError as error:
            if error.reason is Reason.KEY_UNAVAILABLE and key.mode is not CustodyMode.WRAPPED:
                self._absent[name] = _Absence(key, time.monotonic() + ABSENT_SECONDS, error.detail)
            raise
        finally:
            if self._loading.get(name) is loading:
                del self._loading[name]
        loading.loaded = loaded
        self._keys.pin(loaded)
        loaded.doomed = loading.forgotten
        if not loading.forgotten:
            self._keys.put(loaded)
        if loading.waiters == 0:
            self._keys.unpin(loaded)
        return loaded


def _name_of(key: BoundVersion) -> _Name:
    return key.key_id, key.record.version
