"""Loaded keys: least recently used go first, old ones too, and never one that a call is using.

Everything here belongs to the event loop's thread. Keys are found by key id and version; a cached one is
used only for the very record that it was loaded from.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from strongroomd.domain.keys import BoundVersion
from strongroomd.hsm.device import Device
from strongroomd.hsm.handles import TokenObject
from strongroomd.hsm.observer import Observer
from strongroomd.hsm.publickeys import PublicKey
from strongroomd.hsm.sessions import Keeper


@dataclass(slots=True, eq=False)
class SubKey:
    """A derived XAES sub-key in the token.

    Attributes:
        prefix: the 12 bytes of nonce that it was derived from.
        messages: how many were encrypted under it by this process.
        born: time.monotonic() of the derivation.
        pins: calls in flight on threads.
        doomed: taken out; to be destroyed when the last pin goes.
    """

    owner: "LoadedKey"
    prefix: bytes
    held: TokenObject
    handle: int
    born: float
    messages: int = 0
    pins: int = 0
    doomed: bool = False


@dataclass(slots=True, eq=False)
class LoadedKey:
    """A key version in the token, ready for use.

    Attributes:
        bound: what it was loaded from.
        held: the token object, tied to the session that owns it.
        handle: its handle, good for any session of the process.
        device: where it was loaded, None for token objects (resident and adopted keys), which are never
            destroyed here.
        epoch: of that device's keeper at the time.
        public: the public half, for pairs.
        mask: K1 of XAES (16 bytes), for AES roots.
        sealing: the sub-key that new messages are encrypted under.
        opening: further sub-keys by prefix, for decryption.
        pins: calls in flight on threads.
        doomed: evicted; to be destroyed when the last pin goes.
    """

    bound: BoundVersion
    held: TokenObject
    handle: int
    device: Device | None
    epoch: int
    born: float
    public: PublicKey | None = None
    mask: bytes = b""
    sealing: SubKey | None = None
    opening: dict[bytes, SubKey] = field(default_factory=dict)
    pins: int = 0
    doomed: bool = False

    def lives(self, seconds: float) -> float:
        """Say how old it may become, where keys are to be loaded anew after so many seconds.

        Objects of the token serve for as long again, while they are looked for: to search a full token takes
        longer than some callers wait.
        """
        return seconds if self.device is not None else 2 * seconds

    def is_current(self) -> bool:
        """Whether its token object still exists as far as we know."""
        if self.device is None:
            return True
        keeper = self.device.pool
        return not isinstance(keeper, Keeper) or keeper.epoch == self.epoch


class HandleCache:
    """Loaded keys by count and age.

    Args:
        size: most keys held.
        seconds: most age.
        destroy: takes an evicted key's objects out of the token.
        renew: begins to load anew a key that is old and may be used meanwhile; asked again and again.
        observer: hears of hits, misses and evictions.
    """

    def __init__(
        self,
        size: int,
        seconds: float,
        destroy: Callable[[LoadedKey], None],
        renew: Callable[[LoadedKey], None],
        observer: Observer,
    ) -> None:
        self._size = size
        self._seconds = seconds
        self._destroy = destroy
        self._renew = renew
        self._observer = observer
        self._keys: OrderedDict[tuple[str, int], LoadedKey] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, bound: BoundVersion) -> LoadedKey | None:
        """Find a key that is loaded, current, young enough and from the same material."""
        name = (bound.key_id, bound.record.version)
        key = self._keys.get(name)
        if key is None:
            self._observer.cached("handles", "miss")
            return None
        if key.bound is not bound and not _same_material(key.bound, bound):
            self.evict(name)
            return None
        age = time.monotonic() - key.born
        if age > key.lives(self._seconds) or not key.is_current():
            self.evict(name)
            self._observer.cached("handles", "miss")
            return None
        if age > self._seconds:
            self._renew(key)
        self._keys.move_to_end(name)
        self._observer.cached("handles", "hit")
        return key

    def put(self, key: LoadedKey) -> None:
        """Add a key, evicting the least recently used beyond the bound."""
        name = (key.bound.key_id, key.bound.record.version)
        self.evict(name)
        self._keys[name] = key
        while len(self._keys) > self._size:
            self.evict(next(iter(self._keys)))

    def evict(self, name: tuple[str, int]) -> None:
        """Forget a key; its objects go once no call uses them."""
        key = self._keys.pop(name, None)
        if key is not None:
            self._observer.cached("handles", "evicted")
            key.doomed = True
            if key.pins == 0:
                self._destroy(key)

    def forget(self, key_id: str) -> None:
        """Forget every version of a key."""
        for name in [name for name in self._keys if name[0] == key_id]:
            self.evict(name)

    def sweep(self) -> None:
        """Forget what is over its age, or gone from the token with the session that owned it."""
        now, limit = time.monotonic(), self._seconds
        for name in [n for n, k in self._keys.items() if now - k.born > k.lives(limit) or not k.is_current()]:
            self.evict(name)

    def clear(self) -> None:
        """Forget everything."""
        for name in list(self._keys):
            self.evict(name)

    def pin(self, key: LoadedKey) -> None:
        """A call on another thread begins to use the key."""
        key.pins += 1

    def unpin(self, key: LoadedKey) -> None:
        """That call ended."""
        key.pins -= 1
        if key.doomed and key.pins == 0:
            self._destroy(key)


class SubKeyCache:
    """Sub-keys for decryption, over all keys; filled only after a tag has verified.

    Args:
        size: most sub-keys held.
        destroy: takes one out of the token.
        observer: hears of hits, misses and evictions.
    """

    def __init__(self, size: int, destroy: Callable[[SubKey], None], observer: Observer) -> None:
        self._size = size
        self._destroy = destroy
        self._observer = observer
        self._order: OrderedDict[SubKey, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._order)

    def get(self, key: LoadedKey, prefix: bytes) -> SubKey | None:
        """Find the sub-key of a prefix."""
        if key.sealing is not None and key.sealing.prefix == prefix:
            self._observer.cached("subkeys", "hit")
            return key.sealing
        subkey = key.opening.get(prefix)
        self._observer.cached("subkeys", "miss" if subkey is None else "hit")
        if subkey is not None:
            self._order.move_to_end(subkey)
        return subkey

    def put(self, subkey: SubKey) -> None:
        """Keep a sub-key that has proved itself."""
        subkey.owner.opening[subkey.prefix] = subkey
        self._order[subkey] = None
        while len(self._order) > self._size:
            oldest = next(iter(self._order))
            self.drop(oldest)
            self._observer.cached("subkeys", "evicted")

    def drop(self, subkey: SubKey) -> None:
        """Take one out and destroy it."""
        self._order.pop(subkey, None)
        subkey.owner.opening.pop(subkey.prefix, None)
        self._destroy(subkey)

    def drop_all_of(self, key: LoadedKey) -> None:
        """Take out all sub-keys of a key that is leaving."""
        for subkey in list(key.opening.values()):
            self.drop(subkey)
        if key.sealing is not None:
            self._destroy(key.sealing)
            key.sealing = None


def _same_material(one: BoundVersion, other: BoundVersion) -> bool:
    """Whether two snapshots of a version describe the same token object, whatever else changed in the row."""
    return (one.spec, one.usage, one.mode, one.exportable, *_material(one)) == (
        other.spec, other.usage, other.mode, other.exportable, *_material(other),
    )  # fmt: skip


def _material(bound: BoundVersion) -> tuple[object, ...]:
    record = bound.record
    return (
        record.kek_id, record.hsm_id, record.blob, record.length, record.public_key, record.check_value,
        record.scheme, record.object_class, record.object_id, record.object_label, record.uses,
    )  # fmt: skip
