"""The chunks of an encrypted file, one after the other: constant memory, whatever the file's size."""

from collections.abc import Iterator
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strongroom.errors import CallerError
from strongroom.files.format import TAG, FileKeys, damaged


class Reader(Protocol):
    """What is needed of a source: less than asked for is fine, nothing means the end."""

    def read(self, size: int, /) -> bytes | None:
        """Read at most `size` bytes; None from a non-blocking source that has none yet."""


def seal(source: Reader, chunk: int, keys: FileKeys) -> Iterator[bytes]:
    """Encrypt everything that a source gives, chunk by chunk. An empty source makes one empty chunk."""
    cipher = AESGCM(keys.key)
    for counter, (data, last) in enumerate(_blocks(source, chunk)):
        yield cipher.encrypt(keys.nonce(counter, last=last), data, None)


def unseal(source: Reader, chunk: int, keys: FileKeys) -> Iterator[bytes]:
    """Decrypt chunk by chunk: genuine so far, and complete only once it has ended without error.

    Raises:
        IntegrityError: FILE_DAMAGED: changed, cut off, reordered, or with something behind its end.
    """
    cipher = AESGCM(keys.key)
    for counter, (data, last) in enumerate(_blocks(source, chunk + TAG)):
        if len(data) < TAG or (counter > 0 and len(data) == TAG):
            raise damaged("the file was cut off")
        try:
            yield cipher.decrypt(keys.nonce(counter, last=last), data, None)
        except InvalidTag:
            raise damaged("the file was changed, cut off, reordered or extended") from None


def read_exactly(source: Reader, size: int) -> bytes:
    """Read up to `size` bytes; less only at the end. Pipes give what they have, so it asks again.

    Raises:
        CallerError: FILE_PROBLEM: a non-blocking source has no data yet, which is not its end.
    """
    parts: list[bytes] = []
    while size > 0:
        part = source.read(size)
        if part is None:
            raise CallerError("FILE_PROBLEM", "the source is non-blocking and has no data yet")
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _blocks(source: Reader, size: int) -> Iterator[tuple[bytes, bool]]:
    """Give blocks of one size with whether each is the last: the end shows only by reading on."""
    block = read_exactly(source, size)
    while True:
        following = read_exactly(source, size) if len(block) == size else b""
        yield block, not following
        if not following:
            return
        block = following
