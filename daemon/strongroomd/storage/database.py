"""Connections to the database: one that writes, a few that read, each in a thread of its own.

An answer means durable. SQLite runs with `synchronous=FULL`, and with its rollback journal in TRUNCATE mode:
the default DELETE mode does not sync the directory after it has unlinked the journal, so a power cut could
bring the journal back and undo an acknowledged commit (SQLite documentation, PRAGMA synchronous, EXTRA). WAL
only with an SQLite that has the WAL-reset fix (3.51.3).

One thread hop a statement measured 0.35 ms for a read; SQLAlchemy's asyncio layer over aiosqlite 1.2 ms.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.storage.faults import translated
from strongroomd.storage.standback import Standback

T = TypeVar("T")

WAL_IS_SAFE_FROM: Final = (3, 51, 3)
BEGIN_SECONDS: Final = 1.5  # waiting for the writer's turn, in this process and among all of them
COMMIT_SECONDS: Final = 0.5  # waiting for readers to step aside; together the two seconds of the port
READ_SECONDS: Final = 2.0
FORGETS: Final = "secure_delete = ON"
"""What is deleted or replaced is overwritten: a destroyed key's blob shall not stay in a free page.

SQLite's own default differs from build to build.
"""


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where the store is.

    Attributes:
        url: `sqlite:////absolute/path`.
        readers: connections that read, at least 1.
    """

    url: str
    readers: int = 2


def parse_url(url: str) -> URL:
    """Check a store's URL: an SQLite file.

    Raises:
        StrongroomError: CONFIGURATION, field `store.url`.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise _bad_url("a URL such as sqlite:////var/lib/strongroom/strongroom.db is needed") from error
    if parsed.drivername != "sqlite":
        raise _bad_url("only sqlite is supported")
    if not parsed.database or parsed.database == ":memory:" or parsed.query:
        raise _bad_url("a file is needed")
    return parsed


def _bad_url(message: str) -> StrongroomError:
    return StrongroomError(Reason.CONFIGURATION, message, field="store.url")


def journal_mode(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> str:
    """Choose SQLite's journal mode for the linked version."""
    return "WAL" if version >= WAL_IS_SAFE_FROM else "TRUNCATE"


def create_file(url: URL) -> None:
    """Make the database file, readable by its owner only; SQLite gives its journal the same mode."""
    path = Path(url.database or "")
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def writing_engine(url: URL) -> Engine:
    """Open the database for one writing connection, whose transactions are BEGIN IMMEDIATE."""
    engine = create_engine(url, pool_size=1, max_overflow=0, pool_timeout=BEGIN_SECONDS)
    _on_connect(engine, f"journal_mode = {journal_mode()}", "synchronous = FULL", "foreign_keys = ON")
    event.listen(engine, "begin", _begin_immediate)
    event.listen(engine, "commit", _commit)
    return engine


def reading_engine(url: URL, connections: int) -> Engine:
    """Open the database for reading: a read is one statement, so nothing needs a transaction or a reset."""
    engine = create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=BEGIN_SECONDS,
        pool_reset_on_return=None,
        isolation_level="AUTOCOMMIT",
    )
    _on_connect(engine, "query_only = ON")
    return engine


class Turn:
    """One writing transaction while it is open; statements run one after the other in the writer's thread."""

    def __init__(self, executor: ThreadPoolExecutor, connection: Connection, standback: Standback) -> None:
        self._executor = executor
        self._connection = connection
        self._standback = standback

    async def run(self, work: Callable[[Connection], T], conflict: Reason = Reason.INTERNAL) -> T:
        """Run `work` in the writer's thread, inside the transaction; `conflict` as in `faults.translated`."""
        with translated(conflict), self._standback:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work, self._connection)


class Database:
    """One open database; belongs to one event loop.

    The writer's thread takes its work strictly in order. So a caller that goes away in the middle of a
    statement leaves a rollback in the queue behind it, and the next transaction begins behind that.
    """

    def __init__(self, settings: StoreSettings) -> None:
        url = parse_url(settings.url)
        self._turn = asyncio.Lock()
        self._standback = Standback()
        self._writer = writing_engine(url)
        self._writer_thread = ThreadPoolExecutor(1, "store-writer")
        self._open: Connection | None = None  # the transaction under way; touched by the writer's thread only
        self._readers = reading_engine(url, settings.readers)
        self._reader_threads = ThreadPoolExecutor(settings.readers, "store-reader")

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on a reading connection, where each statement sees the newest commit.

        Raises:
            StrongroomError: STORE_UNAVAILABLE, after two seconds at the latest.
        """
        loop = asyncio.get_running_loop()
        with translated(), self._standback:
            async with asyncio.timeout(READ_SECONDS):
                return await loop.run_in_executor(self._reader_threads, self._read, work)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Turn]:
        """Open a transaction; commit at the end of the block, roll back if it raises.

        Raises:
            StrongroomError: STORE_UNAVAILABLE if the turn does not come in time, or the commit fails.
        """
        deadline = asyncio.get_running_loop().time() + BEGIN_SECONDS
        with translated():
            async with asyncio.timeout_at(deadline):
                await self._turn.acquire()
        try:
            yield await self._begin(deadline)
            with translated():
                await self._in_writer(self._commit)
        except BaseException:
            self._writer_thread.submit(self._roll_back)
            raise
        finally:
            self._turn.release()

    async def close(self) -> None:
        """End the threads and close all connections; waits for what is under way."""
        await asyncio.to_thread(self._shut_down)

    async def _begin(self, deadline: float) -> Turn:
        left = deadline - asyncio.get_running_loop().time()
        with translated():
            async with asyncio.timeout_at(deadline + 0.1):  # SQLite's own timeout comes first, and says more
                connection = await self._in_writer(lambda: self._open_transaction(left))
        return Turn(self._writer_thread, connection, self._standback)

    async def _in_writer(self, work: Callable[[], T]) -> T:
        with self._standback:
            return await asyncio.get_running_loop().run_in_executor(self._writer_thread, work)

    def _open_transaction(self, seconds: float) -> Connection:
        self._open = self._writer.connect().execution_options(begin_seconds=seconds)
        self._open.begin()
        return self._open

    def _commit(self) -> None:
        if self._open is not None:
            self._open.commit()
            self._open.close()
            self._open = None

    def _roll_back(self) -> None:
        connection, self._open = self._open, None
        if connection is None:
            return
        try:
            # By the driver: SQLAlchemy believes that nothing is open after a commit that failed (busy).
            connection.connection.rollback()
        except (SQLAlchemyError, sqlite3.Error):
            connection.invalidate()
        connection.close()

    def _read(self, work: Callable[[Connection], T]) -> T:
        with self._readers.connect() as connection:
            return work(connection)

    def _shut_down(self) -> None:
        self._reader_threads.shutdown()
        self._writer_thread.shutdown()
        self._readers.dispose()
        self._writer.dispose()


def _on_connect(engine: Engine, *pragmas: str) -> None:
    def set_up(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's connection
        # SQLAlchemy's begin event says BEGIN IMMEDIATE; the driver must not say BEGIN by itself.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (f"busy_timeout = {int(BEGIN_SECONDS * 1000)}", FORGETS, *pragmas):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    event.listen(engine, "connect", set_up)


def _begin_immediate(connection: Connection) -> None:
    _set_busy_timeout(connection, connection.get_execution_options().get("begin_seconds", BEGIN_SECONDS))
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _commit(connection: Connection) -> None:
    _set_busy_timeout(connection, COMMIT_SECONDS)


def _set_busy_timeout(connection: Connection, seconds: float) -> None:
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {max(1, int(seconds * 1000))}")
