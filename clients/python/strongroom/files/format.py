"""The header of an encrypted file and the keys made from it: FORMAT.md as code, without input or output."""

import struct
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.constant_time import bytes_eq
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strongroom.errors import IntegrityError

MAGIC: Final = b"SRFILE"
VERSION: Final = 1
CHUNK_BITS: Final = 16  # 64 KiB: larger chunks were no faster when measured
MIN_CHUNK_BITS: Final = 12
MAX_CHUNK_BITS: Final = 22  # 4 MiB: a reader holds two chunks, whatever the file says
SALT: Final = 32
DATA_KEY: Final = 32
MAX_SEALED_KEY: Final = 4_096
COMMITMENT: Final = 32
TAG: Final = 16
MAX_CHUNKS: Final = 1 << 32  # the counter's range: 256 TiB of 64 KiB chunks

_FIXED: Final = struct.Struct(f">6sBB{SALT}sH")
_INFO: Final = b"strongroom.file.v1"
_PREFIX: Final = 7
_NONCE: Final = struct.Struct(f">{_PREFIX}sIB")


@dataclass(frozen=True, slots=True)
class Header:
    """The head of an encrypted file.

    Attributes:
        chunk_bits: binary logarithm of the bytes of plaintext in a chunk.
        salt: 32 random bytes, of this file only.
        sealed_key: the data key as GenerateDataKey encrypted it.
    """

    chunk_bits: int
    salt: bytes
    sealed_key: bytes

    @property
    def chunk(self) -> int:
        """Bytes of plaintext in every chunk but the last."""
        return 1 << self.chunk_bits

    def encode(self) -> bytes:
        """Spell the header, without the commitment that follows it."""
        fixed = _FIXED.pack(MAGIC, VERSION, self.chunk_bits, self.salt, len(self.sealed_key))
        return fixed + self.sealed_key


FIXED_SIZE: Final = _FIXED.size
"""Bytes of the header before the sealed key."""


def decode_fixed(data: bytes) -> tuple[Header, int]:
    """Read the fixed part of a header; answers it without sealed key, and the sealed key's length.

    Raises:
        IntegrityError: FILE_DAMAGED.
    """
    if len(data) != _FIXED.size:
        raise damaged("the file is too short to be an encrypted file")
    magic, version, chunk_bits, salt, length = _FIXED.unpack(data)
    if magic != MAGIC:
        raise damaged("the file is not an encrypted file of Strongroom")
    if version != VERSION:
        raise damaged("the file's format is not one that this client knows")
    if not (MIN_CHUNK_BITS <= chunk_bits <= MAX_CHUNK_BITS and 1 <= length <= MAX_SEALED_KEY):
        raise damaged("the file's header holds a size out of range")
    return Header(chunk_bits, salt, b""), length


@dataclass(frozen=True, slots=True)
class FileKeys:
    """What one file is encrypted with.

    Attributes:
        key: AES-256 key of the chunks.
        prefix: first bytes of every nonce.
        commitment: 32 bytes in the file that only this data key and this header make.
    """

    key: bytes = field(repr=False)
    prefix: bytes = field(repr=False)
    commitment: bytes

    def nonce(self, counter: int, *, last: bool) -> bytes:
        """Make the nonce of one chunk (STREAM, Hoang et al. 2015): prefix, counter, last flag."""
        if counter >= MAX_CHUNKS:
            raise damaged("the file has more chunks than the format allows")
        return _NONCE.pack(self.prefix, counter, int(last))

    def check(self, commitment: bytes) -> None:
        """Check the commitment that the file carries, in constant time.

        Raises:
            IntegrityError: FILE_DAMAGED.
        """
        if not bytes_eq(self.commitment, commitment):
            raise damaged("the file's header was changed, or belongs to another file")


def derive(data_key: bytes, header: Header) -> FileKeys:
    """Make the keys of a file: HKDF-SHA256 (RFC 5869) of the data key, with the whole header bound in.

    Raises:
        IntegrityError: FILE_DAMAGED, where the data key is not one of 32 bytes.
    """
    if len(data_key) != DATA_KEY:
        raise damaged("the file's data key has a wrong length")
    length = 32 + _PREFIX + COMMITMENT
    hkdf = HKDF(hashes.SHA256(), length=length, salt=header.salt, info=_INFO + header.encode())
    made = hkdf.derive(data_key)
    return FileKeys(made[:32], made[32 : 32 + _PREFIX], made[32 + _PREFIX :])


def damaged(message: str) -> IntegrityError:
    """Refuse a file; nothing of its plaintext is kept."""
    return IntegrityError("FILE_DAMAGED", message)
