"""All chains and checkpoints of an audit directory, off the event loop (port `AuditTrail`)."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from strongroomd.domain.audit import Checkpoint, Head
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.ports import AuditTrail, AuditWanted
from strongroomd.storage.audit_log import close_dead_chains
from strongroomd.storage.audit_records import AuditFilter, Place, place, read_records, tail_records
from strongroomd.storage.checkpoints import ChainFollower, CheckpointFile, SignedCheckpoint


class FileAuditTrail(AuditTrail):
    """The audit directory as the core sees it.

    Readers share one thread of their own: however many there are, and however long they read, checkpoints are
    signed in time and no other work of the worker waits.

    Args:
        directory: the audit directory.
        clock: seconds since the Unix epoch.
    """

    def __init__(self, directory: Path, clock: Callable[[], float]) -> None:
        self._directory = directory
        self._clock = clock
        self._file = CheckpointFile(directory)
        self._follower: ChainFollower | None = None
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="audit-read")

    async def page(self, wanted: AuditWanted, *, after: str, limit: int) -> list[dict[str, Any]]:
        """Read one page of records; each carries its `chain` and its `place`."""
        start = _place(after)

        def read() -> list[dict[str, Any]]:
            records = read_records(self._directory, _filter(wanted), start)
            return [_placed(record) for record in itertools.islice(records, limit)]

        return await asyncio.get_running_loop().run_in_executor(self._readers, read)

    async def tail(self, wanted: AuditWanted) -> AsyncIterator[dict[str, Any]]:
        """Give records as they become durable."""
        async for record in tail_records(self._directory, _filter(wanted), executor=self._readers):
            yield _placed(record)

    async def newest(self) -> tuple[Checkpoint, bytes] | None:
        """Read the newest checkpoint."""
        return _pair(await asyncio.to_thread(self._file.newest))

    async def nth(self, number: int) -> tuple[Checkpoint, bytes] | None:
        """Read one checkpoint."""
        return _pair(await asyncio.to_thread(self._file.nth, number))

    async def heads(self, trusted: Checkpoint | None) -> tuple[Head, ...]:
        """Verify what the chains grew by and give their heads."""
        if self._follower is None:
            self._follower = ChainFollower(self._directory, trusted)
        return await asyncio.to_thread(self._follower.poll)

    async def append(self, checkpoint: Checkpoint, signature: bytes) -> None:
        """Append a checkpoint; forgets how far chains were followed if another worker was faster."""
        follower = self._follower
        try:
            await asyncio.to_thread(self._file.append, SignedCheckpoint(checkpoint, signature))
            if follower is not None:
                await asyncio.to_thread(follower.archive, checkpoint)
        except StrongroomError:
            self._follower = None
            raise

    async def close_dead(self) -> int:
        """Close dead workers' chains."""
        problems = await asyncio.to_thread(
            close_dead_chains, self._directory, slot=None, successor=None, now=self._clock()
        )
        return len(problems)


def _filter(wanted: AuditWanted) -> AuditFilter:
    return AuditFilter(wanted.key, wanted.principal, wanted.since, wanted.account)


def _placed(record: dict[str, Any]) -> dict[str, Any]:
    time, chain, sequence = place(record)
    return {**record, "place": f"{time} {chain} {sequence}"}


def _place(text: str) -> Place | None:
    if not text:
        return None
    parts = text.split(" ")
    try:
        return parts[0], parts[1], int(parts[2])
    except (IndexError, ValueError):
        raise StrongroomError(Reason.INVALID_PAGE_TOKEN, field="page_token") from None


def _pair(signed: SignedCheckpoint | None) -> tuple[Checkpoint, bytes] | None:
    return (signed.checkpoint, signed.signature) if signed else None
