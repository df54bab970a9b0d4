"""The worker's audit chain: records are durable before `write` returns (port `AuditLog`).

Callers append to a queue and wait for a future. A thread of its own takes everything that waits, hashes it
into the chain and writes it with one `write` to a file opened with O_DSYNC, which returns when the data is on
the disk: the busier the worker, the more records share one sync. One system call rather than write and
fdatasync, because after each the thread must win the GIL back from a busy loop.

What may have reached the file is in the chain. After a short write (disk full) the whole lines that fit are
kept and acknowledged, the torn one is cut off, the rest is refused; the next write tries again, so the log
heals when space returns. After a failed sync nobody knows what is on the disk: the log refuses everything
from then on, and the worker must be replaced.
"""

import asyncio
import errno
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

from strongroomd.domain.audit import CLOSED, OPENED, Head, canonical, format_line, genesis, link
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
    try_lock,
    unwritable,
)
from strongroomd.storage.checkpoints import CheckpointFile

DURABLE_WITHIN: Final = 0.2  # seconds, the port's promise
MAX_QUEUE: Final = 10_000  # records that wait for the disk; more are refused at once
MAX_BATCH: Final = 1_000  # records of one write

TICK: Final = 0.01  # seconds between looks at what waits
_YIELD: Final = 0.0001
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

Record = dict[str, Any]


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


class ChainWriter:
    """Appends to one chain's file; blocking, for one thread."""

    def __init__(self, directory: Path, origin: str, first: Record) -> None:
        self.origin = origin
        self._head = Head(origin, 0, 0, genesis(origin))
        # Nobody may see the chain before it is locked and begun: it would look dead.
        unseen = directory / f"{origin}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_DSYNC
        self._file = os.open(unseen, flags, 0o600)
        try:
            self._begin(first)
            unseen.rename(directory / f"{origin}.jsonl")
            sync_directory(directory)
        except BaseException:
            unseen.unlink(missing_ok=True)
            os.close(self._file)
            raise

    def _begin(self, first: Record) -> None:
        if not try_lock(self._file) or self.append([first]) != 1:
            raise OSError("no space for a new audit chain")

    @property
    def head(self) -> Head:
        """The newest durable record."""
        return self._head

    def append(self, records: Sequence[Record]) -> int:
        """Append records durably, adding `seq` to each; returns how many, from the first, are durable.

        Raises:
            OSError: not for lack of space: what is on the disk is unknown.
            TypeError: a record is not plain JSON; none was written.
        """
        heads, lines = self._chained(records)
        written = self._write(b"".join(lines))
        kept = sum(1 for head in heads if head.size <= self._head.size + written)
        end = heads[kept - 1] if kept else self._head
        if written > end.size - self._head.size:
            os.ftruncate(self._file, end.size)
        self._head = end
        return kept

    def close(self) -> None:
        """Let go of the file, and with it of the lock."""
        os.close(self._file)

    def _chained(self, records: Sequence[Record]) -> tuple[list[Head], list[bytes]]:
        heads: list[Head] = []
        lines: list[bytes] = []
        count, size, digest = self._head.count, self._head.size, self._head.digest
        for record in records:
            body = canonical({**record, "seq": count})
            digest = link(digest, body)
            line = format_line(digest, body)
            count, size = count + 1, size + len(line)
            lines.append(line)
            heads.append(Head(self.origin, count, size, digest))
        return heads, lines

    def _write(self, data: bytes) -> int:
        """Write as much as there is room for."""
        written = 0
        try:
            while written < len(data):
                written += os.write(self._file, data[written:] if written else data)
        except OSError as error:
            if error.errno not in _FULL:
                raise
        return written


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
        self._queue: SimpleQueue[tuple[Record, asyncio.Future[None]] | None] = SimpleQueue()
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._watchdog: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="audit-writer", daemon=True)
        self._thread.start()

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
        """Records that wait to be taken to the disk."""
        return self._queue.qsize()

    async def write(self, record: Record) -> None:
        """Append one record, adding `seq` and `time`; the caller must not change it afterwards.

        A record whose caller was cancelled or waited in vain is still written: it tells what was tried.
        """
        if self._failed or self._closing or self._queue.qsize() >= MAX_QUEUE:
            raise _unavailable("the writer failed, ended or is too far behind")
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.append((loop.time() + DURABLE_WITHIN, future))
        self._queue.put((record, future))
        if self._watchdog is None:
            self._watchdog = loop.call_later(TICK, self._watch)
        await future

    async def close(self) -> None:
        """Write what waits, close the chain and end the thread; waits a second at most."""
        self._closing = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join, 1.0)
        if self._watchdog is not None and not self._waiting:
            self._watchdog.cancel()

    # The loop's side.

    def _watch(self) -> None:
        """Refuse what waits too long, and let the writer thread run.

        A loop that is never idle gives the GIL up and takes it back faster than a waiting thread wakes (CPython
        counts a thread as starving only if nobody released the GIL in the meantime). So when a record has waited
        for a tick, the loop stands back for a moment.
        """
        assert self._loop is not None  # noqa: S101 - this runs on it
        now = self._loop.time()
        self._expire(now)
        self._watchdog = self._loop.call_later(TICK, self._watch) if self._waiting else None
        if self._waiting and self._waiting[0][0] - DURABLE_WITHIN + TICK <= now:
            time.sleep(_YIELD)

    def _expire(self, now: float) -> None:
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= now):
            future = self._waiting.popleft()[1]
            if not future.done():
                future.set_exception(_unavailable("not durable in time"))

    def _settle(self, results: list[tuple[asyncio.Future[None], StrongroomError | None]]) -> None:
        for future, error in results:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
        while self._waiting and self._waiting[0][1].done():
            self._waiting.popleft()

    # The writer thread's side.

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException:
            self._failed = True
            raise

    def _serve(self) -> None:
        more = True
        while more:
            batch, more = self._take()
            if batch:
                self._commit(batch)
            if self._chain.head.size >= self._settings.rotate_at:
                self._rotate()
        self._end("shutdown", None)

    def _take(self) -> tuple[list[tuple[Record, asyncio.Future[None]]], bool]:
        item = self._queue.get()
        batch = []
        while item is not None:
            batch.append(item)
            if len(batch) == MAX_BATCH:
                return batch, True
            try:
                item = self._queue.get_nowait()
            except Empty:
                return batch, True
        return batch, False

    def _commit(self, batch: list[tuple[Record, asyncio.Future[None]]]) -> None:
        results: list[tuple[asyncio.Future[None], StrongroomError | None]]
        try:
            kept = self._append([record for record, _ in batch])
            full = _unavailable("the file takes no more") if kept < len(batch) else None
            results = [(future, None if n < kept else full) for n, (_, future) in enumerate(batch)]
        except TypeError as error:
            if len(batch) > 1:  # one caller's fault must not be the others'
                for item in batch:
                    self._commit([item])
                return
            results = [(batch[0][1], StrongroomError(Reason.INTERNAL, detail=f"audit: {error}"))]
        except OSError as error:
            results = [(future, unwritable(error)) for _, future in batch]
        self._report(results)

    def _append(self, records: list[Record]) -> int:
        if self._failed:
            return 0
        now = timestamp(self._clock())
        try:
            return self._chain.append([{**record, "time": now} for record in records])
        except OSError:
            self._failed = True
            raise

    def _report(self, results: list[tuple[asyncio.Future[None], StrongroomError | None]]) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._settle, results)

    def _rotate(self) -> None:
        """Go on in a new chain; the old one stays in use while no new one can be made."""
        with suppress(OSError):
            successor = self._open_chain(self._chain.origin)
            self._end("size", successor.origin)
            self._chain = successor

    def _end(self, reason: str, successor: str | None) -> None:
        # A chain that cannot be closed here is a dead chain, which the next worker of this slot closes.
        with suppress(OSError):
            self._append([{"event": CLOSED, "reason": reason, "successor": successor}])
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
