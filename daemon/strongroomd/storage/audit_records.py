"""Reading audit records for people: filtered, merged over all chains by time, or followed as they appear.

Nothing is trusted less here than in the verifier: every record read is followed along its chain's hashes.
"""

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from strongroomd.storage.audit_chain import (
    ARCHIVE,
    Scan,
    all_chains,
    chain_path,
    growing_chains,
    started,
    timestamp,
)
from strongroomd.storage.checkpoints import CheckpointFile

Record = dict[str, Any]
_CLOCK_STEPS: Final = 3600.0  # seconds
_ROUNDING: Final = 1_000  # milliseconds that a chain is opened before the time in its name
_BUFFER: Final = 1 << 16  # bytes read at once of each open chain
NEWS: Final = 1_000  # records that one look of a tail takes from all chains together

Place = tuple[str, str, int]


_ARN_COLONS: Final = 5


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which records are wanted; an empty text wants all.

    Attributes:
        key: value of the record's `key`.
        principal: value of the record's `principal`.
        since: RFC 3339 in UTC with milliseconds; records at or after it.
        account: 12 digits; records whose principal, keys or other resource belong to it.
    """

    key: str = ""
    principal: str = ""
    since: str = ""
    account: str = ""

    def wants(self, record: Record) -> bool:
        """Tell whether a record passes."""
        return (
            (not self.key or record.get("key") == self.key)
            and (not self.principal or record.get("principal") == self.principal)
            and (not self.since or str(record.get("time", "")) >= self.since)
            and (not self.account or self.account in _accounts(record))
        )


def _accounts(record: Record) -> set[str]:
    """Say whose a record is: the accounts in its ARNs."""
    named = [record.get(name) for name in ("principal", "key", "resource")] + record.get("other_keys", [])
    return {arn.split(":")[4] for arn in named if isinstance(arn, str) and arn.count(":") >= _ARN_COLONS}


def place(record: Record) -> Place:
    """Give a record's place in the merged order: time, chain, sequence number."""
    return str(record.get("time", "")), str(record["chain"]), int(record.get("seq", 0))


def read_records(
    directory: Path, wanted: AuditFilter | None = None, after: Place | None = None
) -> Iterator[Record]:
    """Read records of all chains, newest last.

    Each has its chain's origin as `chain`, its own hash as `hash` and its bytes in the file as `body`.

    Blocking. To page, take as many as fit and pass the last one's `place` the next time.

    Raises:
        StrongroomError: INTEGRITY_FAILURE at the first record that does not verify.
    """
    chosen = wanted or AuditFilter()
    earliest = max(chosen.since, after[0] if after else "")
    paths = [path for path in all_chains(directory) if not _ended_before(path, earliest)]
    for record in _merged(paths):
        if chosen.wants(record) and (after is None or place(record) > after):
            yield record


def _merged(paths: Sequence[Path]) -> Iterator[Record]:
    """Merge chains, oldest first, by their records' places.

    A chain's first record bears the time of its name, so that it is opened when the merge gets there and
    closed at its end: of hundreds of chains only those are open at once that grew at the same time.
    """
    ahead = deque(paths)
    heap: list[tuple[Place, int, Record, Iterator[Record]]] = []
    numbers = itertools.count()
    while ahead or heap:
        while ahead and (not heap or _begins(ahead[0]) <= heap[0][0][0]):
            path = ahead.popleft()
            _advance(heap, next(numbers), _records(Scan.start(path.stem), path))
        if heap:
            _, number, record, rest = heapq.heappop(heap)
            yield record
            _advance(heap, number, rest)


def _advance(
    heap: list[tuple[Place, int, Record, Iterator[Record]]], number: int, rest: Iterator[Record]
) -> None:
    """Put a chain's next record on the heap, if there is one."""
    record = next(rest, None)
    if record is not None:
        heapq.heappush(heap, (place(record), number, record, rest))


def _begins(path: Path) -> str:
    """Give a time before which a chain has no record."""
    return timestamp(max(0, started(path.stem) - _ROUNDING) / 1_000)


def _ended_before(path: Path, earliest: str) -> bool:
    """Tell whether a chain in the archive ended so early that it need not be read.

    Times come from the wall clock: an hour is left for steps.
    """
    if not earliest or path.parent.name != ARCHIVE:
        return False
    try:
        wanted = datetime.fromisoformat(earliest).timestamp()
    except (ValueError, OverflowError):
        return False
    return path.stat().st_mtime + _CLOCK_STEPS < wanted


async def tail_records(
    directory: Path,
    wanted: AuditFilter | None = None,
    interval: float = 0.2,
    executor: Executor | None = None,
) -> AsyncIterator[Record]:
    """Give records as they become durable, from now on, without end; looks every `interval` seconds.

    Args:
        directory: the audit directory.
        wanted: which records.
        interval: seconds.
        executor: where files are read; the loop's own by default.

    Raises:
        StrongroomError: INTEGRITY_FAILURE at the first record that does not verify.
    """
    chosen = wanted or AuditFilter()
    loop = asyncio.get_running_loop()
    follower = await loop.run_in_executor(executor, _Follower, directory)
    while True:
        for record in await loop.run_in_executor(executor, follower.news):
            if chosen.wants(record):
                yield record
        await asyncio.sleep(0 if follower.behind else interval)


class _Follower:
    """Follows all chains from now on.

    Attributes:
        behind: whether there is more than the last look took.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.behind = False
        newest = CheckpointFile(directory).newest()
        # Checkpoints are not trusted here, only used to begin near the end.
        heads = newest.checkpoint.heads if newest else ()
        self._scans = {head.origin: Scan.resume(head) for head in heads}
        for path, scan in self._open():
            scan.follow(path)

    def news(self) -> list[Record]:
        """Read what all chains grew by since the last call, in order; a bounded part of each."""
        found: list[Record] = []
        chains = self._open()
        share = max(1, NEWS // max(1, len(chains)))
        self.behind = False
        for path, scan in chains:
            taken = list(itertools.islice(_records(scan, path), share))
            found.extend(taken)
            if len(taken) == share:
                self.behind = True
                self._scans[scan.origin] = scan  # though it be archived: there may be more of it
        return sorted(found, key=place)

    def _open(self) -> list[tuple[Path, Scan]]:
        """List the chains that may have grown, those closed and archived since the last time included."""
        origins = [path.stem for path in growing_chains(self._directory)]
        scans = {origin: self._scans.get(origin, Scan.start(origin)) for origin in origins}
        gone = {origin: scan for origin, scan in self._scans.items() if origin not in scans}
        self._scans = scans
        return [(chain_path(self._directory, origin), scan) for origin, scan in (scans | gone).items()]


def _records(scan: Scan, path: Path) -> Iterator[Record]:
    for _ in scan.bodies(path, _BUFFER):
        yield {**scan.record(), "chain": scan.origin, "hash": scan.digest, "body": scan.body}
