"""Reading audit records for people: filtered, merged over all chains by time, or followed as they appear.

Nothing is trusted less here than in the verifier: every record read is followed along its chain's hashes.
"""

import asyncio
import heapq
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from strongroomd.storage.audit_chain import ARCHIVE, Scan, all_chains, chain_path, growing_chains
from strongroomd.storage.checkpoints import CheckpointFile

Record = dict[str, Any]
_CLOCK_STEPS: Final = 3600.0  # seconds

Place = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which records are wanted; an empty text wants all.

    Attributes:
        key: value of the record's `key`.
        principal: value of the record's `principal`.
        since: RFC 3339 in UTC with milliseconds; records at or after it.
    """

    key: str = ""
    principal: str = ""
    since: str = ""

    def wants(self, record: Record) -> bool:
        """Tell whether a record passes."""
        return (
            (not self.key or record.get("key") == self.key)
            and (not self.principal or record.get("principal") == self.principal)
            and (not self.since or str(record.get("time", "")) >= self.since)
        )


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
    chains = [_records(Scan.start(path.stem), path) for path in paths]
    for record in heapq.merge(*chains, key=place):
        if chosen.wants(record) and (after is None or place(record) > after):
            yield record


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
    directory: Path, wanted: AuditFilter | None = None, interval: float = 0.2
) -> AsyncIterator[Record]:
    """Give records as they become durable, from now on, without end; looks every `interval` seconds.

    Raises:
        StrongroomError: INTEGRITY_FAILURE at the first record that does not verify.
    """
    chosen = wanted or AuditFilter()
    follower = await asyncio.to_thread(_Follower, directory)
    while True:
        for record in await asyncio.to_thread(follower.news):
            if chosen.wants(record):
                yield record
        await asyncio.sleep(interval)


class _Follower:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        newest = CheckpointFile(directory).newest()
        # Checkpoints are not trusted here, only used to begin near the end.
        heads = newest.checkpoint.heads if newest else ()
        self._scans = {head.origin: Scan.resume(head) for head in heads}
        for path, scan in self._open():
            scan.follow(path)

    def news(self) -> list[Record]:
        """Read what all chains grew by since the last call, in order."""
        found: list[Record] = []
        for path, scan in self._open():
            found.extend(_records(scan, path))
        return sorted(found, key=place)

    def _open(self) -> list[tuple[Path, Scan]]:
        """List the chains that may have grown, those closed and archived since the last time included."""
        origins = [path.stem for path in growing_chains(self._directory)]
        scans = {origin: self._scans.get(origin, Scan.start(origin)) for origin in origins}
        gone = {origin: scan for origin, scan in self._scans.items() if origin not in scans}
        self._scans = scans
        return [(chain_path(self._directory, origin), scan) for origin, scan in (scans | gone).items()]


def _records(scan: Scan, path: Path) -> Iterator[Record]:
    for _ in scan.bodies(path):
        yield {**scan.record(), "chain": scan.origin, "hash": scan.digest, "body": scan.body}
