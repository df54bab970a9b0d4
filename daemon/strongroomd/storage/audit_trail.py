"""All chains and checkpoints of an audit directory, off the event loop (port `AuditTrail`)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from strongroomd.domain.audit import Checkpoint, Head
from strongroomd.domain.errors import StrongroomError
from strongroomd.ports import AuditPage, AuditTrail, AuditWanted
from strongroomd.storage.audit_log import close_dead_chains
from strongroomd.storage.audit_pages import read_page
from strongroomd.storage.audit_records import tail_records
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

    async def page(self, wanted: AuditWanted, *, after: str, limit: int) -> AuditPage:
        """Look for records."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, read_page, self._directory, wanted, after, limit)

    async def tail(self, wanted: AuditWanted) -> AsyncIterator[dict[str, Any]]:
        """Give records as they become durable."""
        async for record in tail_records(self._directory, wanted, executor=self._readers):
            yield record

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


def _pair(signed: SignedCheckpoint | None) -> tuple[Checkpoint, bytes] | None:
    return (signed.checkpoint, signed.signature) if signed else None
