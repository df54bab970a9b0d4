"""Quota buckets shared by all workers of a node: a memory-mapped table of arrival times (port `QuotaTable`).

The file is a header and slots of 64 bytes; a bucket's slot is found by hashing its name. One lock guards the
whole table: flock(2), which belongs to the open file and so excludes two tables in one process as well, and
which the kernel frees when its process dies, however it dies. One lock for the table rather than one for each
slot: every request of an account charges the account's class bucket anyway, and one lock costs two system
calls for any number of buckets. (Measured for lock and unlock: flock 1.2 us, record locks 2.2 us.)

The lock is taken by ctypes without giving up the GIL, 1.2 us dearer: a thread that got the lock and then had
to wait for the GIL would hold up every other worker.

A lost update is better than an outage: whoever cannot get the lock within 20 ms (its holder is stopped) goes
on without it. The file belongs in a folder that lives as long as the machine runs, such as /run/strongroom.
"""

import ctypes
import fcntl
import hashlib
import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.quota import available, charge
from strongroomd.ports import Charge, QuotaTable, Shortfall

SLOT: Final = 64  # bytes: digest of the bucket's name (16), TAT (8), rest unused; one cache line
DEFAULT_SLOTS: Final = 65_536
PROBES: Final = 32  # slots that a bucket may be in
LOCK_SECONDS: Final = 0.02
_MAX_KNOWN: Final = 100_000  # names whose place is remembered
_HEADER: Final = struct.Struct("<8sII36s")
_MAGIC: Final = b"SRQUOTA\0"
_VERSION: Final = 1
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


_TRY: Final = fcntl.LOCK_EX | fcntl.LOCK_NB
_FREE: Final = fcntl.LOCK_UN
_flock = ctypes.PyDLL(None).flock  # PyDLL keeps the GIL; integers pass as C ints by default


class SharedQuotaTable(QuotaTable):
    """The node's quota table, for one thread of each worker.

    Args:
        path: the file; made with mode 0600, and anew after a restart of the machine.
        slots: buckets that the table has room for.
        clock: CLOCK_MONOTONIC in nanoseconds, the same for all workers.

    Raises:
        StrongroomError: CONFIGURATION, field `quota.table`, if the file cannot be made.
    """

    def __init__(
        self, path: Path, slots: int = DEFAULT_SLOTS, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._clock = clock
        self._slots = slots
        try:
            self._file = _open_table(path, slots)
            self._map = mmap.mmap(self._file, SLOT * (slots + 1))
        except OSError as error:
            raise StrongroomError(
                Reason.CONFIGURATION,
                "the quota table cannot be opened",
                field="quota.table",
                detail=str(error),
            ) from error
        self._words = memoryview(self._map).cast("q")
        self._known: dict[str, tuple[bytes, int]] = {}

    def close(self) -> None:
        """Let go of the file."""
        self._words.release()
        self._map.close()
        os.close(self._file)

    def spend(self, charges: Sequence[Charge]) -> Shortfall | None:
        """Take all charges or none."""
        self._lock()
        try:
            return self._spend(charges, self._clock())
        finally:
            _flock(self._file, _FREE)

    def available(self, charge: Charge) -> int:
        """Cost units that the charge's bucket would grant now."""
        self._lock()
        try:
            now = self._clock()
            tat = self._words[self._slot(charge.bucket, now, {}) * 8 + 2]
        finally:
            _flock(self._file, _FREE)
        return available(tat, now, charge.per_second, charge.burst)

    def _spend(self, charges: Sequence[Charge], now: int) -> Shortfall | None:
        words = self._words
        after: dict[int, int] = {}
        worst, worst_wait = "", 0
        for item in charges:
            slot = self._slot(item.bucket, now, after)
            tat = after[slot] if slot in after else words[slot * 8 + 2]
            after[slot], wait = charge(tat, now, item.cost, item.per_second, item.burst)
            if wait > worst_wait:
                worst, worst_wait = item.bucket, wait
        if worst_wait:
            return Shortfall(worst, worst_wait / 1e9)
        for slot, tat in after.items():
            words[slot * 8 + 2] = tat
        return None

    def _slot(self, bucket: str, now: int, taken: dict[int, int]) -> int:
        """Find the bucket's slot, or make it one; under the lock.

        A remembered place is only a hint: another worker may have given it to somebody else.
        """
        known = self._known.get(bucket)
        if known is not None:
            digest, slot = known
            if self._map[slot * SLOT : slot * SLOT + 16] == digest:
                return slot
        else:
            digest = hashlib.blake2b(bucket.encode(), digest_size=16).digest()
        slot = self._find(digest, now, taken)
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[bucket] = (digest, slot)
        return slot

    def _find(self, digest: bytes, now: int, taken: dict[int, int]) -> int:
        places = list(self._places(digest))
        for slot in places:
            if self._map[slot * SLOT : slot * SLOT + 16] == digest:
                return slot
        # A full bucket need not be remembered. If none is full, the fullest is forgotten: a little too much
        # is granted to it, when more buckets are busy than the table has room for.
        free = [slot for slot in places if slot not in taken] or places
        slot = min(free, key=lambda place: max(self._words[place * 8 + 2], now))
        self._map[slot * SLOT : slot * SLOT + 24] = digest + bytes(8)
        return slot

    def _places(self, digest: bytes) -> Iterator[int]:
        first = int.from_bytes(digest[:8], "little")
        for probe in range(min(PROBES, self._slots)):
            yield 1 + (first + probe) % self._slots  # slot 0 is the header

    def _lock(self) -> None:
        if _flock(self._file, _TRY) == 0:
            return
        deadline = time.monotonic() + LOCK_SECONDS
        while _flock(self._file, _TRY) != 0 and time.monotonic() < deadline:
            os.sched_yield()


def _open_table(path: Path, slots: int) -> int:
    """Open the table, or make it: never in place, where a sibling may have it mapped."""
    with _opening(path):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return _make_table(path, slots)
        if os.pread(descriptor, _HEADER.size, 0) == _header(slots):
            return descriptor
        os.close(descriptor)
        return _make_table(path, slots)


@contextmanager
def _opening(path: Path) -> Iterator[None]:
    """Let one worker at a time open or make the table."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make_table(path: Path, slots: int) -> int:
    fresh = f"{path}.new"
    descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    os.ftruncate(descriptor, SLOT * (slots + 1))
    os.pwrite(descriptor, _header(slots), 0)
    Path(fresh).rename(path)
    return descriptor


def _header(slots: int) -> bytes:
    """Give the header that fits: a table from before a restart of the machine counts another clock's time."""
    try:
        boot = _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        boot = ""
    return _HEADER.pack(_MAGIC, _VERSION, slots, boot.encode())
