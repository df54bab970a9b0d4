"""Pages of the audit log: all chains merged by time, a bounded part of them read for each page.

A page ends when it is full or when its share of work is done; its bookmark says how far each chain was read,
so that nothing is read twice. A bookmark is believed only as far as the files bear it out: it can name the
ends of true lines, and the filter decides what is shown. It tells how long others' records are: whoever hands
it out seals it.

A record counts as written no earlier than those that came before it in the merge: where a clock was set back
its records stand together, behind the newest time that was reached.
"""

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import orjson

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.ports import AuditPage, AuditWanted
from strongroomd.storage.audit_chain import ARCHIVE, Scan, age, all_chains, is_origin, started, timestamp
from strongroomd.storage.audit_records import Place, Record, read_chain, wants
from strongroomd.storage.checkpoints import CheckpointFile

READ: Final = 8 << 20  # bytes that one page reads
RECORD: Final = 400  # bytes that a record counts for besides its own, for the work that it makes
SHOWN: Final = 1 << 20  # bytes of the records of one page; an answer has four MiB
_CLOCK_STEPS: Final = 3600.0  # seconds
_LATE: Final = 60.0  # seconds that a checkpoint must be older than what is looked for
_MOST_BEGUN: Final = 256  # chains that a bookmark may name; each is an open file
_ROUNDING: Final = 1_000  # milliseconds that a chain is opened before the time in its name


def read_page(directory: Path, wanted: AuditWanted, after: str, limit: int) -> AuditPage:
    """Look for records, oldest first; blocks for about a tenth of a second at most.

    Args:
        directory: the audit directory.
        wanted: which records.
        after: `after` of the page before; empty for the first.
        limit: records of this page.

    Raises:
        StrongroomError: INTEGRITY_FAILURE at the first record that does not verify; INVALID_PAGE_TOKEN.
    """
    merge = _Merge(directory, wanted, after)
    found: list[Record] = []
    read = shown = 0
    while len(found) < limit and read < READ and shown < SHOWN:
        record = merge.next()
        if record is None:
            break
        size = len(record["body"])
        read += size + RECORD
        if wants(wanted, record):
            found.append(record)
            shown += size
    return AuditPage(found, merge.bookmark())


@dataclass(frozen=True, slots=True)
class _Bookmark:
    """Where a page ended.

    Attributes:
        time: that of the last record read; what follows counts as no earlier.
        newest: origin of the youngest chain that was begun.
        sizes: for each chain that was begun and has not ended, the bytes that were read of it.
    """

    time: str
    newest: str
    sizes: dict[str, int]

    def text(self) -> str:
        return orjson.dumps([self.time, self.newest, self.sizes]).decode()

    @classmethod
    def parse(cls, text: str) -> "_Bookmark":
        try:
            time, newest, sizes = orjson.loads(text)
        except (TypeError, ValueError):  # no JSON, or not three
            raise _not_ours() from None
        whole = isinstance(time, str) and isinstance(newest, str) and isinstance(sizes, dict)
        if not whole or not is_origin(newest) or len(sizes) > _MOST_BEGUN:
            raise _not_ours()
        if not all(type(size) is int and size >= 0 for size in sizes.values()):
            raise _not_ours()
        return cls(time, newest, sizes)


class _Reading:
    """One chain, read as far as the merge needs it.

    Attributes:
        origin: the chain.
        record: the next one to be given.
        time: when that counts as written.
        done: bytes of the file before it.
        over: whether the chain is closed and nothing follows.
    """

    def __init__(self, path: Path, scan: Scan) -> None:
        self.origin = scan.origin
        self.record: Record = {}
        self.time = ""
        self.over = False
        self._scan = scan
        self._records = read_chain(scan, path)
        self.done = scan.size

    def advance(self, earliest: str) -> bool:
        """Read the next record; says whether there is one."""
        self.done = self._scan.size
        record = next(self._records, None)
        if record is None:
            self.over = self._scan.closed
            return False
        self.record = record
        self.time = max(earliest, str(record.get("time", "")))
        return True

    @property
    def place(self) -> Place:
        """Where the next record stands in the merge."""
        return self.time, self.origin, self.done


class _Merge:
    """Merges chains, oldest record first.

    A chain's first record bears the time of its name, so that it is opened when the merge gets there and
    closed at its end: of hundreds of chains only those are open at once that grew at the same time.
    """

    def __init__(self, directory: Path, wanted: AuditWanted, after: str) -> None:
        self._until = wanted.until
        self._heap: list[tuple[Place, _Reading]] = []
        self._waiting: list[_Reading] = []
        self._newest = self._time = ""
        paths = all_chains(directory)
        if after:
            self._ahead = self._resume(_Bookmark.parse(after), paths)
            self._sizes: dict[str, int] = {}
        else:
            self._ahead = deque(path for path in paths if not _ended_before(path, wanted.since))
            self._sizes = _sizes_before(directory, wanted.since)

    def next(self) -> Record | None:
        """Give the next record; None where all is read, or the wanted time is over."""
        self._open()
        if self._over:
            return None
        _, reading = heapq.heappop(self._heap)
        record, self._time = reading.record, reading.time
        self._push(reading)
        return record

    def bookmark(self) -> str:
        """Say where to go on; empty if nothing is left."""
        self._open()
        if self._over:
            return ""
        begun = [*(reading for _, reading in self._heap), *self._waiting]
        sizes = {reading.origin: reading.done for reading in begun if not reading.over}
        return _Bookmark(self._time, self._newest, sizes).text()

    @property
    def _over(self) -> bool:
        return not self._heap or bool(self._until and self._heap[0][1].time >= self._until)

    def _open(self) -> None:
        """Open the chains that may have begun before the next record was written."""
        while self._ahead and (not self._heap or _begins(self._ahead[0]) <= self._heap[0][1].time):
            path = self._ahead.popleft()
            self._newest = path.stem
            self._push(_Reading(path, _scan(path, self._sizes.get(path.stem, 0))))

    def _push(self, reading: _Reading) -> None:
        if reading.advance(self._time):
            heapq.heappush(self._heap, (reading.place, reading))
        else:
            self._waiting.append(reading)

    def _resume(self, bookmark: _Bookmark, paths: Iterable[Path]) -> deque[Path]:
        """Open what was begun; gives the chains that were not."""
        self._newest, self._time = bookmark.newest, bookmark.time
        by_origin = {path.stem: path for path in paths}
        for origin, size in bookmark.sizes.items():
            path = by_origin.get(origin)
            if path is None:
                raise _not_ours()
            try:
                scan = Scan.at(path, size)
            except (ValueError, OverflowError):
                raise _not_ours() from None
            self._push(_Reading(path, scan))
        return deque(path for path in by_origin.values() if age(path.stem) > age(bookmark.newest))


def _scan(path: Path, size: int) -> Scan:
    """Begin where a checkpoint says; where the file does not bear that out, at the start."""
    try:
        return Scan.at(path, size)
    except (ValueError, OverflowError):
        return Scan.start(path.stem)


def _sizes_before(directory: Path, since: str) -> dict[str, int]:
    """Say how far chains need not be read: as far as a checkpoint from before that time says."""
    moment = _seconds(since)
    if moment is None:
        return {}
    # Checkpoints are not trusted here, only used to begin near the wanted time.
    found = CheckpointFile(directory).before(int((moment - _LATE) * 1_000))
    return {head.origin: head.size for head in found.checkpoint.heads} if found else {}


def _begins(path: Path) -> str:
    """Give a time before which a chain has no record."""
    return timestamp(max(0, started(path.stem) - _ROUNDING) / 1_000)


def _ended_before(path: Path, earliest: str) -> bool:
    """Tell whether a chain in the archive ended so early that it need not be read.

    Times come from the wall clock: an hour is left for steps.
    """
    wanted = _seconds(earliest)
    if wanted is None or path.parent.name != ARCHIVE:
        return False
    return path.stat().st_mtime + _CLOCK_STEPS < wanted


def _seconds(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except (ValueError, OverflowError):
        return None


def _not_ours() -> StrongroomError:
    return StrongroomError(Reason.INVALID_PAGE_TOKEN, field="page_token")
