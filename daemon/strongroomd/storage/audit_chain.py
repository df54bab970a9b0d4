"""The files of audit chains: their names, how far one verifies, and how a dead one is closed.

The audit directory (mode 0700) holds `<origin>.jsonl` for each chain that may still grow, `closed/` with the
chains whose end is under a checkpoint, and `checkpoints.jsonl`. A living writer holds an advisory lock
(flock) on its file; the kernel drops it with the process, which tells a dead chain from a living one.
"""

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from strongroomd.domain.audit import CLOSED, Head, canonical, format_line, genesis, link, parse_line
from strongroomd.domain.errors import Reason, StrongroomError

ARCHIVE: Final = "closed"
CHECKPOINTS: Final = "checkpoints.jsonl"
MAX_LINE: Final = 4 << 20  # bytes; the widest record is a batch of 500 results, far below this
_USUAL_LINE: Final = 1 << 13  # bytes
_NODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ORIGIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}-[0-9]+-[0-9]+-[0-9a-f]{4}")


def broken(origin: str, line: int, what: str) -> StrongroomError:
    """Make the error for a chain that does not verify; lines count from 1."""
    return StrongroomError(Reason.INTEGRITY_FAILURE, detail=f"audit: chain {origin}, line {line}: {what}")


def check_node(node: str) -> None:
    """Refuse a node name that cannot be part of a file name. Raises CONFIGURATION, field `audit.node`."""
    if not _NODE.fullmatch(node):
        raise StrongroomError(
            Reason.CONFIGURATION, "1 to 64 letters, digits, dots, dashes are allowed", field="audit.node"
        )


def slot_of(origin: str) -> str:
    """Give the worker slot of a chain: `<node>-<worker>`."""
    return origin.rsplit("-", 2)[0]


def started(origin: str) -> int:
    """Give the start time (ms) in a chain's name."""
    return int(origin.rsplit("-", 2)[1])


def chain_path(directory: Path, origin: str) -> Path:
    """Find a chain's file, closed or not; the path it would have if there is none."""
    archived = directory / ARCHIVE / f"{origin}.jsonl"
    return archived if archived.exists() else directory / f"{origin}.jsonl"


def growing_chains(directory: Path) -> list[Path]:
    """List the chains whose end is not yet under a checkpoint, oldest first."""
    return _chains(directory)


def all_chains(directory: Path) -> list[Path]:
    """List every chain, oldest first."""
    # A chain may be moved to the archive between the two listings: look there last, and count it once.
    found = {path.stem: path for path in (*_chains(directory), *_chains(directory / ARCHIVE))}
    return sorted(found.values(), key=lambda path: age(path.stem))


def _chains(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    paths = (path for path in directory.glob("*.jsonl") if is_origin(path.stem))
    return sorted(paths, key=lambda path: age(path.stem))


def is_origin(text: str) -> bool:
    """Tell whether a text can be a chain's name."""
    return _ORIGIN.fullmatch(text) is not None


def age(origin: str) -> tuple[int, str]:
    """Give what chains are sorted by, the oldest first."""
    return started(origin), origin


def sync_directory(directory: Path) -> None:
    """Make the directory's entries durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(slots=True)
class Scan:
    """How far a chain was followed, and found to verify.

    Attributes:
        origin: the chain.
        count, size, digest: as in `Head`.
        body: the last record followed.
        torn: bytes behind the last good line that are no record: an unfinished write, never acknowledged.
    """

    origin: str
    count: int
    size: int
    digest: bytes
    body: bytes = b""
    torn: int = 0

    @classmethod
    def start(cls, origin: str) -> "Scan":
        """Begin before a chain's first record."""
        return cls(origin, 0, 0, genesis(origin))

    @classmethod
    def resume(cls, head: Head) -> "Scan":
        """Begin behind a head that is known to be good."""
        return cls(head.origin, head.count, head.size, head.digest)

    @classmethod
    def at(cls, path: Path, size: int) -> "Scan":
        """Begin behind the line that ends after `size` bytes; what is before it is not verified.

        Raises:
            ValueError: no line ends there.
        """
        if size == 0:
            return cls.start(path.stem)
        line = _line_before(path, size)
        digest, body = parse_line(line)
        record = orjson.loads(body)
        sequence = record.get("seq") if isinstance(record, dict) else None
        if type(sequence) is not int:
            raise ValueError("not a record")
        return cls(path.stem, sequence + 1, size, digest, body)

    @property
    def head(self) -> Head:
        """The newest good record."""
        return Head(self.origin, self.count, self.size, self.digest)

    @property
    def closed(self) -> bool:
        """Whether the last record followed closes the chain."""
        return self.body != b"" and self.record().get("event") == CLOSED

    def record(self) -> dict[str, Any]:
        """Give the last record followed. Raises INTEGRITY_FAILURE if it is no JSON object."""
        try:
            record = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            record = None
        if not isinstance(record, dict):
            raise broken(self.origin, self.count, "not a JSON object")
        return record

    def follow(self, path: Path) -> None:
        """Read what the file has grown by, and verify it.

        Raises:
            StrongroomError: INTEGRITY_FAILURE naming chain and line if the file is shorter than before, or a
                line does not verify although it is not the unfinished end.
        """
        for _body in self.bodies(path):
            pass

    def bodies(self, path: Path, buffer: int = 1 << 20) -> Iterator[bytes]:
        """Do as `follow`, giving each record as soon as it verifies; whoever stops early may go on later.

        Args:
            path: the chain's file, open while the iterator lives.
            buffer: bytes read at once.
        """
        with _open(path, buffer) as file:
            size = os.fstat(file.fileno()).st_size
            if size < self.size:
                raise broken(self.origin, self.count, "the file is shorter than it was")
            file.seek(self.size)
            for line in iter(lambda: file.readline(MAX_LINE), b""):
                if not self._take(line):
                    self._check_end(line, file)
                    break
                yield self.body
            self.torn = max(0, size - self.size)
            if self.count and not self.body:
                self._load_last(file)

    def _load_last(self, file: BinaryIO) -> None:
        """Find the last good record of a chain that was resumed and has not grown."""
        start = max(0, self.size - MAX_LINE)
        file.seek(start)
        lines = file.read(self.size - start).splitlines(keepends=True)
        try:
            digest, body = parse_line(lines[-1] if lines else b"")
        except ValueError:
            digest, body = b"", b""
        if digest != self.digest:
            raise broken(self.origin, self.count, "does not verify")
        self.body = body

    def _take(self, line: bytes) -> bool:
        try:
            digest, body = parse_line(line)
        except ValueError:
            return False
        if link(self.digest, body) != digest:
            return False
        self.count, self.size, self.digest, self.body = self.count + 1, self.size + len(line), digest, body
        return True

    def _check_end(self, bad: bytes, file: BinaryIO) -> None:
        """Tell an unfinished write from an edit: an unfinished write is the end of the file.

        Without its line feed the line is the end, whatever a living writer has appended since it was read.
        """
        if len(bad) == MAX_LINE or (bad.endswith(b"\n") and file.read(1)):
            raise broken(self.origin, self.count + 1, "does not verify")


def _line_before(path: Path, size: int) -> bytes:
    """Read the line that ends after `size` bytes. Raises ValueError if the file is shorter."""
    with _open(path, 0) as file:
        for reach in (_USUAL_LINE, MAX_LINE):
            start = max(0, size - reach)
            data = os.pread(file.fileno(), size - start, start)
            if len(data) != size - start:
                raise ValueError("the file is shorter")
            begin = data.rfind(b"\n", 0, -1) + 1
            if begin:
                break
    return data[begin:]


def _open(path: Path, buffer: int) -> BinaryIO:
    """Open a chain that may just be on its way to the archive."""
    try:
        return path.open("rb", buffering=buffer)
    except FileNotFoundError:
        return (path.parent / ARCHIVE / path.name).open("rb", buffering=buffer)


def try_lock(descriptor: int) -> bool:
    """Take a chain's lock, which lives as long as the open file; False if another has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def close_dead_chain(
    path: Path, *, successor: str | None, time: str, reason: str, known: Head | None = None
) -> Head | None:
    """Close the chain of a worker that died: cut its unfinished end and append `chain.closed`.

    Args:
        path: the chain's file.
        successor: the chain that goes on in its place, if there is one.
        time: RFC 3339, now.
        reason: why, for the record.
        known: a head of the chain from which on it is verified; from its start otherwise.

    Returns:
        The chain's last head; None if its writer lives, or somebody else closed it.

    Raises:
        StrongroomError: INTEGRITY_FAILURE if the chain does not verify; AUDIT_UNAVAILABLE on I/O errors.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unwritable(error) from error
    try:
        scan = Scan.resume(known) if known else Scan.start(path.stem)
        return _close_locked(descriptor, path, scan, {"successor": successor, "time": time, "reason": reason})
    except OSError as error:
        raise unwritable(error) from error
    finally:
        os.close(descriptor)


def timestamp(seconds: float) -> str:
    """Write a Unix time as RFC 3339 in UTC with milliseconds, always 24 characters."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unwritable(error: BaseException) -> StrongroomError:
    """Translate an I/O error of the audit log."""
    return StrongroomError(Reason.AUDIT_UNAVAILABLE, detail=f"audit: {type(error).__name__}: {error}")


def _close_locked(descriptor: int, path: Path, scan: Scan, facts: dict[str, Any]) -> Head | None:
    if not try_lock(descriptor):
        return None
    scan.follow(path)
    if scan.closed:
        return None
    if scan.torn:
        facts |= {"cut_bytes": scan.torn, "cut_sha256": _digest_of_end(descriptor, scan.size)}
        os.ftruncate(descriptor, scan.size)
    line = _closing_line(scan, facts)
    os.write(descriptor, line)
    os.fdatasync(descriptor)
    scan.follow(path)
    return scan.head


def _digest_of_end(descriptor: int, offset: int) -> str:
    digest = hashlib.sha256()
    while chunk := os.pread(descriptor, 1 << 20, offset):
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()


def _closing_line(scan: Scan, facts: dict[str, Any]) -> bytes:
    body = canonical({"event": CLOSED, "seq": scan.count, **facts})
    return format_line(link(scan.digest, body), body)
