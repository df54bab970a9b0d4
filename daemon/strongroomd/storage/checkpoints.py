"""Signed checkpoints over the audit chains, and the follower that computes what there is to sign.

`checkpoints.jsonl` holds one line for each checkpoint: canonical JSON with the checkpoint's fields and the
HSM's signature in base64. Checkpoints name their predecessor's hash, so whoever holds one holds them all.
Everything here blocks on files: call it in a thread.
"""

import base64
import binascii
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from strongroomd.domain.audit import Checkpoint, Head, canonical, parse_checkpoint
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.storage.audit_chain import (
    ARCHIVE,
    CHECKPOINTS,
    Scan,
    broken,
    growing_chains,
    sync_directory,
    unwritable,
)

MAX_CHECKPOINT: Final = 1 << 20  # bytes of one line: some thousand chains


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint and the HSM's signature (DER) over `checkpoint.message()`."""

    checkpoint: Checkpoint
    signature: bytes

    def line(self) -> bytes:
        """Give the line of `checkpoints.jsonl`, which is also the form to hold elsewhere."""
        signature = base64.b64encode(self.signature).decode()
        return canonical({"checkpoint": self.checkpoint.fields(), "signature": signature}) + b"\n"


def parse_signed(line: bytes) -> SignedCheckpoint:
    """Read a line of `checkpoints.jsonl`. Raises ValueError if it is none; the signature is not checked."""
    try:
        fields = orjson.loads(line)
        signature = base64.b64decode(fields["signature"], validate=True)
        signed = SignedCheckpoint(parse_checkpoint(fields["checkpoint"]), signature)
    except (TypeError, KeyError, binascii.Error) as error:
        raise ValueError("not a signed checkpoint") from error
    if signed.line() != line:
        raise ValueError("not a signed checkpoint")
    return signed


class CheckpointFile:
    """The checkpoints of one audit directory."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / CHECKPOINTS

    def append(self, signed: SignedCheckpoint) -> None:
        """Append the next checkpoint durably; an unfinished line of an earlier try is cut off.

        Raises:
            StrongroomError: AUDIT_UNAVAILABLE if it cannot be written, or does not follow the newest one
                (another worker was faster).
        """
        try:
            with self._locked() as descriptor:
                end = self._end(descriptor, signed.checkpoint)
                os.ftruncate(descriptor, end)
                _write_all(descriptor, signed.line(), end)
        except OSError as error:
            raise unwritable(error) from error

    def newest(self) -> SignedCheckpoint | None:
        """Read the newest checkpoint.

        Raises:
            StrongroomError: INTEGRITY_FAILURE if the last whole line is no checkpoint.
        """
        try:
            with self._path.open("rb") as file:
                return _newest(file.fileno())[0]
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unwritable(error) from error

    def nth(self, number: int) -> SignedCheckpoint | None:
        """Read the checkpoint with this number, finding it by bisection.

        Raises:
            StrongroomError: INTEGRITY_FAILURE if a line on the way is no checkpoint.
        """
        found = self._last(lambda checkpoint: checkpoint.number <= number)
        return found if found and found.checkpoint.number == number else None

    def before(self, time: int) -> SignedCheckpoint | None:
        """Read the newest checkpoint that was made before a time (ms), finding it by bisection.

        Where the clock was set back it may be another one from before that time.

        Raises:
            StrongroomError: INTEGRITY_FAILURE if a line on the way is no checkpoint.
        """
        return self._last(lambda checkpoint: checkpoint.time < time)

    def _last(self, early: Callable[[Checkpoint], bool]) -> SignedCheckpoint | None:
        """Find the last of those that come early enough."""
        if not self._path.exists():
            return None
        best = None
        low, high = 0, self._path.stat().st_size
        while low < high:
            start, line = self._line_around((low + high) // 2)
            if not line.endswith(b"\n"):
                high = start
                continue
            found = _parsed(line, "checkpoint")
            if early(found.checkpoint):
                best, low = found, start + len(line)
            else:
                high = start
        return best

    def lines(self) -> Iterator[bytes]:
        """Read every line, the oldest first; the last may lack its line feed."""
        if self._path.exists():
            with self._path.open("rb") as file:
                yield from iter(lambda: file.readline(MAX_CHECKPOINT), b"")

    @contextmanager
    def _locked(self) -> Iterator[int]:
        new = not self._path.exists()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if new:
                sync_directory(self._path.parent)
            yield descriptor
        finally:
            os.close(descriptor)

    def _end(self, descriptor: int, following: Checkpoint) -> int:
        newest, end = _newest(descriptor)
        number = newest.checkpoint.number if newest else 0
        previous = newest.checkpoint.digest() if newest else bytes(32)
        if (following.number, following.previous) != (number + 1, previous):
            raise StrongroomError(
                Reason.AUDIT_UNAVAILABLE,
                detail=f"audit: checkpoint {following.number} does not follow {number}",
            )
        return end

    def _line_around(self, offset: int) -> tuple[int, bytes]:
        with self._path.open("rb") as file:
            begin = max(0, offset - MAX_CHECKPOINT)
            file.seek(begin)
            start = begin + file.read(offset - begin).rfind(b"\n") + 1
            file.seek(start)
            return start, file.readline(MAX_CHECKPOINT)


def _newest(descriptor: int) -> tuple[SignedCheckpoint | None, int]:
    """Find the last whole line, and where it ends."""
    size = os.fstat(descriptor).st_size
    begin = max(0, size - 2 * MAX_CHECKPOINT)
    tail = os.pread(descriptor, size - begin, begin)
    end = tail.rfind(b"\n") + 1
    if end == 0:
        return None, begin
    start = tail.rfind(b"\n", 0, end - 1) + 1
    return _parsed(tail[start:end], "newest"), begin + end


def _parsed(line: bytes, which: str) -> SignedCheckpoint:
    try:
        return parse_signed(line)
    except ValueError as error:
        raise StrongroomError(Reason.INTEGRITY_FAILURE, detail=f"audit: {which}: {error}") from error


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    written = 0
    while written < len(data):
        written += os.pwrite(descriptor, data[written:], offset + written)
    os.fdatasync(descriptor)


class ChainFollower:
    """Follows every chain of a directory, reading only what each grew by.

    Args:
        directory: the audit directory.
        trusted: the newest checkpoint, its signature verified; chains are verified from there on.
    """

    def __init__(self, directory: Path, trusted: Checkpoint | None) -> None:
        self._directory = directory
        self._scans = {head.origin: Scan.resume(head) for head in trusted.heads} if trusted else {}

    def poll(self) -> tuple[Head, ...]:
        """Verify what the chains grew by; give the head of each that is not archived, sorted by origin.

        What a head covers is durable: a checkpoint must not outlive the records that it vouches for.

        Raises:
            StrongroomError: INTEGRITY_FAILURE naming the chain and line that does not verify, or a chain
                that shrank or is gone; AUDIT_UNAVAILABLE on I/O errors.
        """
        try:
            paths = {path.stem: path for path in growing_chains(self._directory)}
            self._drop_archived(paths)
            return tuple(self._follow(paths[origin]) for origin in sorted(paths))
        except OSError as error:
            raise unwritable(error) from error

    def archive(self, checkpoint: Checkpoint) -> list[str]:
        """Move the closed chains whose end the checkpoint covers out of the way; gives their origins.

        To be called when the checkpoint is durable.
        """
        ended = {head for head in checkpoint.heads if self._ended(head)}
        for head in ended:
            name = f"{head.origin}.jsonl"
            (self._directory / name).rename(self._directory / ARCHIVE / name)
            del self._scans[head.origin]
        return sorted(head.origin for head in ended)

    def _ended(self, head: Head) -> bool:
        scan = self._scans.get(head.origin)
        return scan is not None and scan.head == head and scan.closed

    def _drop_archived(self, paths: dict[str, Path]) -> None:
        for origin in [origin for origin in self._scans if origin not in paths]:
            scan = self._scans.pop(origin)
            if not (self._directory / ARCHIVE / f"{origin}.jsonl").exists():
                raise broken(origin, scan.count, "the file is gone")

    def _follow(self, path: Path) -> Head:
        scan = self._scans.setdefault(path.stem, Scan.start(path.stem))
        before = scan.count
        scan.follow(path)
        if scan.count > before:
            _make_durable(path)
        return scan.head


def _make_durable(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
