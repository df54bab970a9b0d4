"""Old ciphertexts brought to the newest version of their key; the plaintext never leaves the daemon.

    from strongroom import Client
    from strongroom.renewal import Renewer, renew_file

    with Client.from_environment() as client, Renewer(client) as renewer:
        for path in paths:
            renew_file(renewer, path)
        print(renewer.counts)

A symmetric ciphertext names its key and version in its first 24 bytes (protos/README.md). One of the newest
version stays as it is; so a run that was cut off is simply run again. Files are replaced whole or not at all.
Lines of JSON go to a file beside theirs, which a later run continues and at last puts in their place.
"""

import base64
import binascii
import contextlib
import hashlib
import io
import json
import os
import shutil
import struct
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self

from strongroom.errors import CallerError, StrongroomError, invalid
from strongroom.files.targets import problem, whole_file

if TYPE_CHECKING:
    from strongroom.client import Client

Context = Mapping[str, str]
MAX_FILE: Final = 1 << 16  # bytes; the longest ciphertext has some 4,200, its base64 text 6,000
UNFINISHED: Final = ".renewing"
_AT_ONCE: Final = 8  # calls under way
_CHUNK: Final = 64  # lines between two looks at the disk
_HEADER: Final = struct.Struct(">2sBB16sI")
_SHORTEST: Final = _HEADER.size + 12 + 16  # header, the shorter nonce, tag
_MULTI_REGION: Final = 1


@dataclass(frozen=True, slots=True)
class Origin:
    """What a ciphertext says of its making: the key's id and its version."""

    key_id: str
    version: int


def origin(ciphertext: bytes) -> Origin:
    """Read which key and version a symmetric ciphertext names. Raises INVALID_CIPHERTEXT for what is none."""
    if len(ciphertext) < _SHORTEST:
        raise _no_ciphertext()
    magic, form, kind, raw, version = _HEADER.unpack_from(ciphertext)
    if magic != b"SR" or form not in {1, 2} or kind not in {0, _MULTI_REGION} or not version:
        raise _no_ciphertext()
    return Origin(f"mrk-{raw.hex()}" if kind == _MULTI_REGION else str(uuid.UUID(bytes=raw)), version)


class Renewer:
    """Renews ciphertexts, some at once; a context manager.

    Args:
        client: makes the calls; its retries hold, and its quota is what limits the speed.
        destination: the key to encrypt under; empty for each ciphertext's own.
        context: the encryption context of those that bring none.
        dry_run: only count.

    Attributes:
        counts: by (key id, version), as found.
        renewed, current: what became of them; in a dry run `renewed` counts what would be.
    """

    def __init__(
        self,
        client: "Client",
        *,
        destination: str = "",
        context: Context | None = None,
        dry_run: bool = False,
    ) -> None:
        self._client = client
        self._destination = destination
        self._context = dict(context or {})
        self._pool = ThreadPoolExecutor(_AT_ONCE)
        self._newest: dict[str, tuple[str, int]] = {}
        self.dry_run = dry_run
        self.counts: Counter[tuple[str, int]] = Counter()
        self.renewed = self.current = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def renew(self, items: Sequence[tuple[bytes, Context | None]]) -> list[bytes | StrongroomError]:
        """Renew some ciphertexts with their contexts; each ends as a ciphertext or an error, in its place."""
        done = list(self._pool.map(self._one, items))
        for found, result in done:
            if found is not None:
                self.counts[found.key_id, found.version] += 1
            if not isinstance(result, StrongroomError):
                stays = found is not None and found == self._goal(found)
                self.current += stays
                self.renewed += not stays
        return [result for _, result in done]

    def _one(self, item: tuple[bytes, Context | None]) -> tuple[Origin | None, bytes | StrongroomError]:
        ciphertext, context = item
        found = None
        try:
            found = origin(ciphertext)
            if self.dry_run or found == self._goal(found):
                self._goal(found)  # in a dry run, too, a key that may not be seen is an error
                return found, ciphertext
            return found, self._re_encrypt(ciphertext, found, context)
        except StrongroomError as error:
            return found, error

    def _re_encrypt(self, ciphertext: bytes, found: Origin, context: Context | None) -> bytes:
        own = self._context if context is None else context
        destination = self._destination or found.key_id
        done = self._client.re_encrypt(ciphertext, destination, source_context=own, destination_context=own)
        return done.ciphertext

    def _goal(self, found: Origin) -> Origin:
        """Give the key and version that a ciphertext should be of; each key is described once."""
        name = self._destination or found.key_id
        if name not in self._newest:
            key = self._client.describe_key(name)
            self._newest[name] = (key.key_id, key.current_version)
        return Origin(*self._newest[name])


def renew_file(renewer: Renewer, path: Path, *, text: bool = False) -> None:
    """Renew the one ciphertext that a file is, in its place, keeping its mode; `text`: it is base64.

    Raises:
        StrongroomError: what the daemon says; FILE_PROBLEM; CONFLICT where the file changed meanwhile. The
            file is then as it was.
    """
    try:
        with path.open("rb") as file:
            data, before = file.read(MAX_FILE + 1), os.fstat(file.fileno())
    except (OSError, ValueError) as error:
        raise problem(error) from error
    if len(data) > MAX_FILE:
        raise _no_ciphertext()
    ciphertext = _from_base64(data, "file") if text else data
    (made,) = renewer.renew([(ciphertext, None)])
    if isinstance(made, StrongroomError):
        raise made
    if made != ciphertext:
        _replace(path, io.BytesIO(base64.b64encode(made) + b"\n" if text else made), before)


def renew_lines(
    renewer: Renewer, path: Path, *, field: str = "ciphertext", tell: Callable[[int, int], None] | None = None
) -> list[tuple[int, StrongroomError]]:
    """Renew the ciphertexts in a file of JSON objects, one a line, and put the file in its place at the end.

    A line's ciphertext is the base64 text of its member `field`, its context the member `context`, if it has
    one. All else stays as it is. Lines that fail stay as they are and are named.

    Args:
        renewer: does it.
        path: the file. Progress is kept in `<path>.renewing`; a later run continues there.
        field: the member that holds the ciphertext.
        tell: hears of lines done and lines in all.

    Returns:
        (number, error) of each line that failed in this run.

    Raises:
        StrongroomError: FILE_PROBLEM; INVALID_FIELD for a line that is no such object: nothing is replaced.
    """
    try:
        return _renew_lines(renewer, path, field, tell or (lambda _done, _all: None))
    except (OSError, ValueError) as error:
        raise problem(error) from error


def _renew_lines(
    renewer: Renewer, path: Path, field: str, tell: Callable[[int, int], None]
) -> list[tuple[int, StrongroomError]]:
    with path.open("rb") as source:
        before, digest, total = os.fstat(source.fileno()), hashlib.sha256(), 0
        for line in source:
            digest.update(line)
            total += 1
    failures: list[tuple[int, StrongroomError]] = []
    beside = path.with_name(path.name + UNFINISHED)
    mark = json.dumps({"renewing": digest.hexdigest()}).encode() + b"\n"
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(path.open("rb"))
        output = None if renewer.dry_run else stack.enter_context(_continued(beside, mark))
        done = 0 if output is None else _lines_in(output) - 1
        for _ in range(done):
            source.readline()
        tell(done, total)
        for chunk in _chunks(source):
            made = _renew_chunk(renewer, chunk, done, field, failures)
            done += len(chunk)
            if output is not None:
                output.write(b"".join(made))
                output.flush()
                os.fsync(output.fileno())
            tell(done, total)
    if not renewer.dry_run:
        with beside.open("rb") as finished:
            finished.seek(len(mark))
            _replace(path, finished, before)
        beside.unlink()
    return failures


def _renew_chunk(
    renewer: Renewer, lines: list[bytes], done: int, field: str, failures: list[tuple[int, StrongroomError]]
) -> list[bytes]:
    parsed = [_item(line, done + number, field) for number, line in enumerate(lines, 1)]
    results = renewer.renew([(ciphertext, context) for _, ciphertext, context in parsed])
    made = []
    for number, (line, (whole, ciphertext, _), result) in enumerate(
        zip(lines, parsed, results, strict=True), done + 1
    ):
        if isinstance(result, StrongroomError):
            failures.append((number, result))
        if isinstance(result, StrongroomError) or result == ciphertext:
            made.append(line if line.endswith(b"\n") else line + b"\n")
            continue
        whole[field] = base64.b64encode(result).decode("ascii")
        made.append(json.dumps(whole, ensure_ascii=False).encode() + b"\n")
    return made


def _item(line: bytes, number: int, field: str) -> tuple[dict[str, Any], bytes, Context | None]:
    place = f"line {number}"
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise invalid(place, "must be a JSON object") from None
    if not isinstance(found, dict) or not isinstance(found.get(field), str) or not found[field].isascii():
        raise invalid(place, f"must be an object whose member {field} is base64 text")
    context = found.get("context")
    if context is not None and not (
        isinstance(context, dict) and all(isinstance(value, str) for value in context.values())
    ):
        raise invalid(place, "its context must map names to text")
    return found, _from_base64(found[field].encode(), place), context


@contextlib.contextmanager
def _continued(beside: Path, mark: bytes) -> Iterator[BinaryIO]:
    """Open what an earlier run left, cut behind its last whole line; begin anew if it is of another file."""
    descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        if file.readline() != mark:
            file.seek(0)
            file.truncate()
            file.write(mark)
        else:
            file.seek(0)
            whole = sum(len(line) for line in file if line.endswith(b"\n"))
            file.truncate(whole)
        file.seek(0, os.SEEK_END)
        yield file


def _lines_in(file: BinaryIO) -> int:
    file.flush()
    file.seek(0)
    count = sum(1 for _ in file)
    file.seek(0, os.SEEK_END)
    return count


def _chunks(source: BinaryIO) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    for line in source:
        chunk.append(line)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _replace(path: Path, data: BinaryIO, before: os.stat_result) -> None:
    """Put new bytes in a file's place, whole, with its mode, unless it changed since it was read."""
    try:
        now = path.stat()
        if (now.st_ino, now.st_size, now.st_mtime_ns) != (before.st_ino, before.st_size, before.st_mtime_ns):
            raise CallerError("FILE_PROBLEM", "the file changed meanwhile, and stays as it is now")
        with whole_file(path, overwrite=True) as file:
            os.fchmod(file.fileno(), before.st_mode & 0o7777)
            shutil.copyfileobj(data, file, 1 << 20)
    except (OSError, ValueError) as error:
        raise problem(error) from error


def _from_base64(data: bytes, field: str) -> bytes:
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except (ValueError, binascii.Error):
        raise invalid(field, "must be base64") from None


def _no_ciphertext() -> StrongroomError:
    return CallerError(
        "INVALID_CIPHERTEXT", "this is not a symmetric ciphertext of the daemon's; nothing was changed"
    )
