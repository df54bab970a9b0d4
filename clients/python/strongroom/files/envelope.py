"""Files in and out: one data key from the daemon for each file, the rest is done here."""

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from strongroom import results
from strongroom.calls.crypto import Context
from strongroom.files import chunks
from strongroom.files.chunks import Reader
from strongroom.files.format import (
    CHUNK_BITS,
    COMMITMENT,
    FIXED_SIZE,
    SALT,
    FileKeys,
    Header,
    damaged,
    decode_fixed,
    derive,
)
from strongroom.files.targets import after_success, problem, whole_file

Source = str | Path | BinaryIO
Target = str | Path | BinaryIO
Progress = Callable[[int], None]
"""Told the bytes of plaintext done since it was last told."""


class KeySource(Protocol):
    """What is needed of a client."""

    def generate_data_key(
        self, key: str, /, *, spec: str = "", context: Context | None = None
    ) -> results.DataKey:
        """Make a data key."""

    def decrypt(
        self, ciphertext: bytes, /, *, key: str = "", context: Context | None = None
    ) -> results.Decrypted:
        """Open a data key."""


@dataclass(frozen=True, slots=True)
class FileReport:
    """What was done: bytes of plaintext, and the key version that encrypted the file's data key."""

    size: int
    key_arn: str
    key_version: int


def encrypt_file(
    client: KeySource,
    key: str,
    source: Source,
    target: Target,
    *,
    context: Context | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> FileReport:
    """Encrypt a file under a fresh data key, itself encrypted under a symmetric key of the daemon.

    Args:
        client: a `Client`.
        key: key id, key ARN, alias or alias ARN of a symmetric key.
        source: path, or binary stream to read to its end.
        target: path, which appears only when all is written, with mode 0600; or binary stream.
        context: encryption context of the data key; decrypt_file must be given the same.
        overwrite: replace a target that exists.
        progress: called after each chunk.

    Raises:
        StrongroomError: as of generate_data_key; FILE_PROBLEM for the files.
    """
    with _file_problems(), _reading(source) as reader, _writing(target, overwrite=overwrite) as writer:
        data_key = client.generate_data_key(key, spec="AES_256", context=context)
        header = Header(CHUNK_BITS, secrets.token_bytes(SALT), data_key.ciphertext)
        keys = derive(data_key.plaintext, header)
        writer.write(header.encode() + keys.commitment)
        counted = _Counted(reader, progress)
        for chunk in chunks.seal(counted, header.chunk, keys):
            writer.write(chunk)
        return FileReport(counted.size, data_key.key_arn, data_key.key_version)


def decrypt_file(
    client: KeySource,
    source: Source,
    target: Target,
    *,
    key: str = "",
    context: Context | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> FileReport:
    """Decrypt a file that encrypt_file made; nothing appears before the last chunk has verified.

    Args:
        client: a `Client`.
        source: path, or binary stream to read to its end.
        target: path, which appears only when all is verified, with mode 0600; or binary stream, for which
            the plaintext waits in a nameless temporary file until it is verified.
        key: key that the file's data key must be encrypted under; empty accepts what the file says.
        context: encryption context, as given to encrypt_file.
        overwrite: replace a target that exists.
        progress: called after each chunk.

    Raises:
        StrongroomError: FILE_DAMAGED for a file that was changed, cut off, reordered or extended; as of
            decrypt for its data key; FILE_PROBLEM for the files. No plaintext is left behind.
    """
    with _file_problems(), _reading(source) as reader:
        header = _read_header(reader)
        commitment = chunks.read_exactly(reader, COMMITMENT)
        opened = client.decrypt(header.sealed_key, key=key, context=context)
        keys = derive(opened.plaintext, header)
        keys.check(commitment)
        size = 0
        with _writing_verified(target, overwrite=overwrite) as writer:
            size = _unseal_into(writer, reader, header, keys, progress)
        return FileReport(size, opened.key_arn, opened.key_version)


def _unseal_into(
    writer: BinaryIO, reader: BinaryIO, header: Header, keys: FileKeys, progress: Progress | None
) -> int:
    size = 0
    for plaintext in chunks.unseal(reader, header.chunk, keys):
        writer.write(plaintext)
        size += len(plaintext)
        if progress is not None:
            progress(len(plaintext))
    return size


def _read_header(reader: BinaryIO) -> Header:
    header, length = decode_fixed(chunks.read_exactly(reader, FIXED_SIZE))
    sealed_key = chunks.read_exactly(reader, length)
    if len(sealed_key) != length:
        raise damaged("the file was cut off")
    return Header(header.chunk_bits, header.salt, sealed_key)


class _Counted:
    """A source that counts what is read from it."""

    def __init__(self, reader: Reader, progress: Progress | None) -> None:
        self._reader = reader
        self._progress = progress
        self.size = 0

    def read(self, size: int, /) -> bytes | None:
        """Read and count."""
        data = self._reader.read(size)
        if data is None:
            return None
        self.size += len(data)
        if self._progress is not None:
            self._progress(len(data))
        return data


@contextlib.contextmanager
def _file_problems() -> Iterator[None]:
    """Spell what the operating system refuses."""
    try:
        yield
    except OSError as error:
        raise problem(error) from error


@contextlib.contextmanager
def _reading(source: Source) -> Iterator[BinaryIO]:
    if not isinstance(source, str | Path):
        yield source
        return
    with _path(source).open("rb") as file:
        yield file


@contextlib.contextmanager
def _writing(target: Target, *, overwrite: bool) -> Iterator[BinaryIO]:
    if not isinstance(target, str | Path):
        yield target
        target.flush()
        return
    with whole_file(_path(target), overwrite=overwrite) as file:
        yield file


def _writing_verified(target: Target, *, overwrite: bool) -> contextlib.AbstractContextManager[BinaryIO]:
    if not isinstance(target, str | Path):
        return after_success(target)
    return whole_file(_path(target), overwrite=overwrite)


def _path(text: str | Path) -> Path:
    path = Path(text)
    if "\0" in str(path):
        raise problem(ValueError())
    return path
