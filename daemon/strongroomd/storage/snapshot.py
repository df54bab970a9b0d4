"""A copy of the database as it is at one moment, made while others write (SQLite's online backup)."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.storage.database import FORGETS, parse_url
from strongroomd.storage.faults import translated

_PAGES: Final = 16_384  # 64 MiB at 4 KiB a page, copied under one read lock: a writer waits 0.5 s for readers
BESIDE: Final = ("-journal", "-wal", "-shm")
"""Suffixes of the files that SQLite keeps beside a database, and would apply to any that takes its name."""
_PAUSE: Final = 0.02  # seconds for writers between two of these
MOST_SECONDS: Final = (
    120.0  # a change by another process begins the copy anew; a store that never rests is refused
)


def snapshot(url: str, target: Path) -> None:
    """Copy a database into a new file, mode 0600, synced and checked.

    Blocks: a store under 64 MiB in one step, a larger one in several, each of which writers may come between.

    Args:
        url: of the living database.
        target: absent.

    Raises:
        StrongroomError: STORE_UNAVAILABLE if it cannot be read or does not rest for long enough,
            INTEGRITY_FAILURE if the copy is damaged.
    """
    source = Path(parse_url(url).database or "")
    with translated():
        os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=2.0)) as living,
            closing(sqlite3.connect(target)) as copy,
        ):
            living.backup(copy, pages=_PAGES, progress=_bounded(), sleep=_PAUSE)
            copy.execute("PRAGMA journal_mode = DELETE")
            if copy.execute("PRAGMA quick_check").fetchall() != [("ok",)]:
                raise StrongroomError(Reason.INTEGRITY_FAILURE, detail="store: the copy is damaged")
        _sync(target)


def settle(path: Path) -> None:
    """Fold whatever lies beside a database that nobody has open into its one file, and sync that.

    Raises:
        StrongroomError: STORE_UNAVAILABLE.
    """
    with translated(), closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA {FORGETS}")
        database.execute("PRAGMA journal_mode = DELETE")
    for suffix in BESIDE:
        beside = path.with_name(path.name + suffix)
        if beside.exists() and beside.stat().st_size:
            raise StrongroomError(Reason.STORE_UNAVAILABLE, detail=f"store: its {suffix} file is in use")
        beside.unlink(missing_ok=True)  # TRUNCATE mode leaves an empty journal
    _sync(path)


def _bounded() -> "_Progress":
    return _Progress(time.monotonic() + MOST_SECONDS)


class _Progress:
    """Ends a copy that takes too long."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline

    def __call__(self, status: int, remaining: int, total: int) -> None:
        del status, total
        if remaining and time.monotonic() > self._deadline:
            raise StrongroomError(
                Reason.STORE_UNAVAILABLE, detail="store: it changes faster than it can be copied"
            )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
