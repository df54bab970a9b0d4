"""The worker's audit chain: records are durable before `write` returns (port `AuditLog`).

A record is hashed onto the chain at once. What has gathered while the disk was busy is written together and
made durable by one sync, which the kernel does by itself (syncing.py): the busier the worker, the more
records share a sync, and no thread competes with the loop for the GIL. Measured beside encryptions at 16
callers, a record costs the worker 30-45 us of processor time; with a thread that hashed and wrote it cost
130-240 us.

What may have reached the file is in the chain. After a short write (disk full) the whole lines that fit are
kept and acknowledged, the torn one is cut off, and what was linked behind it is refused; the next write tries
again, so the log heals when space returns. After a failed sync nobody knows what is on the disk: the log
refuses everything from then on, and the worker must be replaced.
"""

import asyncio
import os
import secrets
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from strongroomd.domain.audit import CLOSED, OPENED, Head
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.ports import AuditLog
from strongroomd.storage.audit_chain import (
    ARCHIVE,
    all_chains,
    check_node,
    close_dead_chain,
    growing_chains,
    slot_of,
    sync_directory,
    timestamp,
    unwritable,
)
from strongroomd.storage.chain_writer import ChainWriter, Linked
from strongroomd.storage.checkpoints import CheckpointFile
from strongroomd.storage.syncing import Syncer, open_syncer

DURABLE_WITHIN: Final = 0.2  # seconds, the port's promise
MAX_QUEUE: Final = 10_000  # records that wait for the disk; more are refused at once
MAX_BATCH: Final = 1_000  # records of one write
HELD_UP: Final = 0.002  # seconds by which a timer must be late to show that the loop was busy
GATHER: Final = 0.002  # seconds between flushes while several callers write (PostgreSQL: commit_delay)

Record = dict[str, Any]
_Pending = tuple[Linked, "asyncio.Future[None]"]


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """Where and as whom a worker writes its audit chain.

    Attributes:
        directory: made with mode 0700 if absent.
        node: this machine's name in the log; letters, digits, dots, dashes.
        worker: index of the worker's slot.
        version: the daemon's version, for the chain's first record.
        rotate_at: bytes after which a chain is closed and another begun.
    """

    directory: Path
    node: str
    worker: int
    version: str
    rotate_at: int = 256 << 20


class FileAuditLog(AuditLog):
    """A worker's audit log; belongs to one event loop.

    Making one blocks for some milliseconds: it opens the chain and closes those that died in the same slot.

    Raises:
        StrongroomError: AUDIT_UNAVAILABLE if the chain cannot be opened; CONFIGURATION for a bad node name.
    """

    def __init__(self, settings: AuditSettings, clock: Callable[[], float] = time.time) -> None:
        check_node(settings.node)
        self._settings = settings
        self._clock = clock
        self._failed = False
        self._closing = False
        self.unclosed: list[StrongroomError] = []
        self._chain = self._open_first_chain()
        self._pending: list[_Pending] = []
        self._syncing: list[_Pending] = []
        self._busy = False
        self._siblings = False
        self._flushed_at = 0.0
        self._stamp = (0, "")
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._watchdog: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._syncer: Syncer | None = None

    @property
    def origin(self) -> str:
        """Name of the chain that is written now."""
        return self._chain.origin

    @property
    def failed(self) -> bool:
        """Whether a sync failed: nothing can be written any more and the worker must be replaced."""
        return self._failed

    @property
    def queued(self) -> int:
        """Records that wait for the disk."""
        return len(self._waiting)

    async def write(self, record: Record) -> Head:
        """Append one record, adding `seq` and `time`.

        A record whose caller was cancelled or waited in vain is still written: it tells what was tried.
        """
        if self._failed or self._closing or len(self._pending) >= MAX_QUEUE:
            raise _unavailable("the writer failed, ended or is too far behind")
        loop = self._loop
        if loop is None:
            loop = self._begin()
        try:
            linked = self._chain.link({**record, "time": self._time()})
        except TypeError as error:
            raise StrongroomError(Reason.INTERNAL, detail=f"audit: {error}") from error
        future = loop.create_future()
        self._pending.append((linked, future))
        self._waiting.append((loop.time() + DURABLE_WITHIN, future))
        if not self._busy:
            self._schedule(loop)
        if self._watchdog is None:
            self._watchdog = loop.call_at(self._waiting[0][0], self._expire)
        await future
        return linked[1]

    def _begin(self) -> asyncio.AbstractEventLoop:
        loop = self._loop = asyncio.get_running_loop()
        self._syncer = open_syncer(loop, self._synced, self._chain.descriptor)
        return loop

    def _time(self) -> str:
        """Spell the time, once for each millisecond."""
        now = self._clock()
        milliseconds = int(now * 1000)
        if milliseconds != self._stamp[0]:
            self._stamp = (milliseconds, timestamp(now))
        return self._stamp[1]

    async def close(self) -> None:
        """Write what waits and close the chain; waits a second at most."""
        if self._closing:
            return
        self._closing = True
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                while self._busy:  # noqa: ASYNC110 - once in a life
                    await asyncio.sleep(0.002)
        if self._syncer is not None and not self._busy:
            self._syncer.close()
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._end("shutdown", None)

    def _expire(self, *, again: bool = False) -> None:
        """Refuse what waits too long; it may still reach the disk.

        A loop that was held up itself hears of time before it hears of files: it listens once more first.
        """
        assert self._loop is not None  # noqa: S101 - this runs on it
        now = self._loop.time()
        if self._waiting and now - self._waiting[0][0] > HELD_UP and not again:
            self._watchdog = self._loop.call_later(HELD_UP, partial(self._expire, again=True))
            return
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= now):
            future = self._waiting.popleft()[1]
            if not future.done():
                future.set_exception(_unavailable("not durable in time"))
        self._watchdog = self._loop.call_at(self._waiting[0][0], self._expire) if self._waiting else None

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Flush at once for a lone caller; with siblings, not sooner than they can gather."""
        self._busy = True
        if self._siblings:
            loop.call_at(self._flushed_at + GATHER, self._flush)
        else:
            loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Write what has gathered and let it be synced."""
        assert self._loop is not None  # noqa: S101 - this runs on it
        batch, self._pending = self._pending[:MAX_BATCH], self._pending[MAX_BATCH:]
        self._siblings, self._flushed_at = len(batch) > 1, self._loop.time()
        try:
            kept = 0 if self._failed else self._chain.write([linked for linked, _ in batch])
            if kept < len(batch):
                self._refuse(batch[kept:], _unavailable("the file takes no more"))
            self._syncing = batch[:kept]
            self._sync()
        except OSError as error:
            self._fail(batch, error)

    def _sync(self) -> None:
        if not self._syncing or self._syncer is None:
            self._next()
            return
        self._syncer.start(self._chain.descriptor)

    def _synced(self, code: int) -> None:
        batch, self._syncing = self._syncing, []
        if code:
            self._fail(batch, OSError(code, os.strerror(code)))
            return
        for _, future in batch:
            if not future.done():
                future.set_result(None)
        self._next()

    def _next(self) -> None:
        """Go on with what gathered meanwhile."""
        while self._waiting and self._waiting[0][1].done():
            self._waiting.popleft()
        if self._chain.head.size >= self._settings.rotate_at and not self._pending:
            self._rotate()
        self._busy = bool(self._pending)
        if self._busy and self._loop is not None:
            self._schedule(self._loop)

    def _refuse(self, lost: list[_Pending], problem: StrongroomError) -> None:
        """Refuse what was not written, and what was linked behind it, which would now hang in the air."""
        behind, self._pending = self._pending, []
        for _, future in (*lost, *behind):
            if not future.done():
                future.set_exception(problem)
        self._chain.rewind()

    def _fail(self, batch: list[_Pending], error: OSError) -> None:
        """Refuse everything from now on: what is on the disk is unknown."""
        self._failed = True
        self._refuse(batch, unwritable(error))
        self._busy = False

    def _rotate(self) -> None:
        """Go on in a new chain, while nothing is on its way; the old one stays while none can be made.

        Blocks the loop for some milliseconds, once in some hundred thousand records.
        """
        with suppress(OSError):
            successor = self._open_chain(self._chain.origin)
            self._end("size", successor.origin)
            self._chain = successor

    def _end(self, reason: str, successor: str | None) -> None:
        # A chain that cannot be closed here is a dead chain, which the next worker of this slot closes.
        with suppress(OSError):
            if not self._failed:
                record = {"event": CLOSED, "reason": reason, "successor": successor}
                self._chain.append([{**record, "time": timestamp(self._clock())}])
        self._chain.close()

    # Opening.

    def _open_first_chain(self) -> ChainWriter:
        directory = self._settings.directory
        try:
            _make_directory(directory)
            before = [path.stem for path in all_chains(directory) if slot_of(path.stem) == self._slot]
            chain = self._open_chain(before[-1] if before else None)
        except OSError as error:
            raise unwritable(error) from error
        self.unclosed = close_dead_chains(
            directory, slot=self._slot, successor=chain.origin, now=self._clock()
        )
        return chain

    @property
    def _slot(self) -> str:
        return f"{self._settings.node}-{self._settings.worker}"

    def _open_chain(self, previous: str | None) -> ChainWriter:
        now = self._clock()
        origin = f"{self._slot}-{int(now * 1000)}-{secrets.token_hex(2)}"
        first = {
            "event": OPENED,
            "origin": origin,
            "previous": previous,
            "version": self._settings.version,
            "time": timestamp(now),
        }
        return ChainWriter(self._settings.directory, origin, first)


def close_dead_chains(
    directory: Path, *, slot: str | None, successor: str | None, now: float
) -> list[StrongroomError]:
    """Close the chains of workers that died: of one slot (`<node>-<worker>`), or of all.

    Returns:
        What is wrong with those that could not be closed; their evidence is left as it is.
    """
    problems = []
    newest = CheckpointFile(directory).newest()
    # Forged heads would only make the chain fail to verify.
    known = {head.origin: head for head in newest.checkpoint.heads} if newest else {}
    for path in growing_chains(directory):
        if path.stem == successor or (slot is not None and slot_of(path.stem) != slot):
            continue
        try:
            close_dead_chain(
                path,
                successor=successor,
                time=timestamp(now),
                reason="worker died",
                known=known.get(path.stem),
            )
        except StrongroomError as error:
            problems.append(error)
    return problems


def _make_directory(directory: Path) -> None:
    for path in (directory, directory / ARCHIVE):
        path.mkdir(mode=0o700, parents=path == directory, exist_ok=True)
        path.chmod(0o700)
    sync_directory(directory)


def _unavailable(detail: str) -> StrongroomError:
    return StrongroomError(Reason.AUDIT_UNAVAILABLE, retry_after=1.0, detail=f"audit: {detail}")
