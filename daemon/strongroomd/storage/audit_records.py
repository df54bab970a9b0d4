"""Audit records for people: which are wanted, and following them as they appear (pages: audit_pages.py).

Every record read is followed along its chain's hashes.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Final

from strongroomd.ports import AuditWanted
from strongroomd.storage.audit_chain import Scan, chain_path, growing_chains
from strongroomd.storage.checkpoints import CheckpointFile

Record = dict[str, Any]
_BUFFER: Final = 1 << 16  # bytes read at once of each open chain
NEWS: Final = 1_000  # records that one look of a tail takes from all chains together

Place = tuple[str, str, int]
_ARN_COLONS: Final = 5


def wants(wanted: AuditWanted, record: Record) -> bool:
    """Tell whether a record is wanted."""
    time = str(record.get("time", ""))
    return (
        wanted.principal in ("", record.get("principal"), record.get("session"))
        and wanted.action in ("", record.get("action"))
        and wanted.outcome in ("", record.get("outcome"))
        and time >= wanted.since
        and (not wanted.until or time < wanted.until)
        and (wanted.key in ("", record.get("key")) or wanted.key in record.get("other_keys", ()))
        and (not wanted.account or wanted.account in _accounts(record))
    )


def _accounts(record: Record) -> set[str]:
    """Say whose a record is: the accounts in its ARNs."""
    named = [record.get(name) for name in ("principal", "key", "resource")] + record.get("other_keys", [])
    return {arn.split(":")[4] for arn in named if isinstance(arn, str) and arn.count(":") >= _ARN_COLONS}


def place(record: Record) -> Place:
    """Give a record's place in the merged order: time, chain, sequence number."""
    return str(record.get("time", "")), str(record["chain"]), int(record.get("seq", 0))


async def tail_records(
    directory: Path,
    wanted: AuditWanted | None = None,
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
    chosen = wanted or AuditWanted()
    loop = asyncio.get_running_loop()
    follower = await loop.run_in_executor(executor, _Follower, directory)
    while True:
        for record in await loop.run_in_executor(executor, follower.news):
            if wants(chosen, record):
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
            taken = list(itertools.islice(read_chain(scan, path), share))
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


def read_chain(scan: Scan, path: Path) -> Iterator[Record]:
    """Read what a chain grew by since it was followed.

    Each record has its chain's origin as `chain`, its own hash as `hash` and its bytes in the file as `body`.
    """
    for _ in scan.bodies(path, _BUFFER):
        yield {**scan.record(), "chain": scan.origin, "hash": scan.digest, "body": scan.body}
