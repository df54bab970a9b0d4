"""Appending to the file of one audit chain."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from strongroomd.domain.audit import Head, canonical, format_line, genesis, link
from strongroomd.storage.audit_chain import sync_directory, try_lock

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

Record = dict[str, Any]
Linked = tuple[bytes, Head]
"""A record's line, and the chain's head once it is written."""


class ChainWriter:
    """Links records onto one chain and writes them to its file; `descriptor` is what to sync."""

    def __init__(self, directory: Path, origin: str, first: Record) -> None:
        self.origin = origin
        self._head = self._tip = Head(origin, 0, 0, genesis(origin))
        # Nobody may see the chain before it is locked and begun: it would look dead.
        unseen = directory / f"{origin}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self.descriptor = os.open(unseen, flags, 0o600)
        try:
            self._begin(first)
            unseen.rename(directory / f"{origin}.jsonl")
            sync_directory(directory)
        except BaseException:
            unseen.unlink(missing_ok=True)
            os.close(self.descriptor)
            raise

    def _begin(self, first: Record) -> None:
        if not try_lock(self.descriptor) or self.append([first]) != 1:
            raise OSError("no space for a new audit chain")

    @property
    def head(self) -> Head:
        """The newest record that was written."""
        return self._head

    def append(self, records: Sequence[Record]) -> int:
        """Link, write and sync records; blocks; returns how many, from the first, are durable.

        Raises:
            OSError: not for lack of space: what is on the disk is unknown.
            TypeError: a record is not plain JSON; none was written.
        """
        kept = self.write([self.link(record) for record in records])
        self.rewind()
        os.fdatasync(self.descriptor)
        return kept

    def link(self, record: Record) -> Linked:
        """Hash the next record onto the chain, adding `seq`; it is not written yet.

        Raises:
            TypeError: the record is not plain JSON; the chain is unchanged.
        """
        tip = self._tip
        body = canonical({**record, "seq": tip.count})
        digest = link(tip.digest, body)
        line = format_line(digest, body)
        self._tip = Head(self.origin, tip.count + 1, tip.size + len(line), digest)
        return line, self._tip

    def write(self, linked: Sequence[Linked]) -> int:
        """Write lines in the order of their linking, unsynced; returns how many, from the first, were taken.

        After a short write the torn line is cut off, and `rewind` must be called before linking goes on.

        Raises:
            OSError: not for lack of space: what is in the file is unknown.
        """
        written = self._write(b"".join([line for line, _ in linked]))
        reached = self._head.size + written
        kept = len(linked)
        if linked and reached < linked[-1][1].size:
            kept = sum(1 for _, head in linked if head.size <= reached)
        end = linked[kept - 1][1] if kept else self._head
        if reached > end.size:
            os.ftruncate(self.descriptor, end.size)
        self._head = end
        return kept

    def rewind(self) -> None:
        """Forget what was linked but not written."""
        self._tip = self._head

    def close(self) -> None:
        """Let go of the file, and with it of the lock."""
        os.close(self.descriptor)

    def _write(self, data: bytes) -> int:
        """Write as much as there is room for."""
        written = 0
        try:
            while written < len(data):
                written += os.write(self.descriptor, data[written:] if written else data)
        except OSError as error:
            if error.errno not in _FULL:
                raise
        return written
