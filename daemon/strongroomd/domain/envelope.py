"""The ciphertext envelope: names its format, key and version, so that a decrypt never tries keys.

Byte layout, fixed for ever (golden files in tests/vectors):

    offset  size  meaning
    0       2     magic, the ASCII letters "SR"
    2       1     format: 1 = XAES-256-GCM (C2SP), nonce of 24 bytes; 2 = AES-256-GCM under the key itself,
                  IV of 12 bytes
    3       1     kind of key id: 0 = UUID, 1 = multi-region (mrk-)
    4       16    key id: the UUID's, or the mrk- hexadecimal digits', 16 bytes
    20      4     key version, big endian, from 1
    24      n     nonce (24 or 12 bytes), ciphertext (as long as the plaintext), tag (16 bytes)

The first 24 bytes are the header; they are authenticated together with the encryption context (context.py).
In both formats the nonce is fresh random. A key version writes and opens one format only, that of its scheme.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from strongroomd.domain.algorithms import Scheme
from strongroomd.domain.errors import Reason, StrongroomError

_HEADER = struct.Struct(">2sBB16sI")
HEADER_BYTES = _HEADER.size
TAG_BYTES = 16
_MAGIC = b"SR"
_MULTI_REGION = "mrk-"


class Format(IntEnum):
    """Envelope formats; numbers are never reused."""

    XAES_256_GCM = 1
    AES_256_GCM = 2


FORMATS = {Scheme.DEFAULT: Format.XAES_256_GCM, Scheme.AES_GCM: Format.AES_256_GCM}
"""The format that versions of a scheme write, and the only one that they open."""

NONCE_BYTES = {Format.XAES_256_GCM: 24, Format.AES_256_GCM: 12}


@dataclass(frozen=True, slots=True)
class Envelope:
    """A parsed ciphertext.

    Attributes:
        header: the 24 authenticated header bytes.
        sealed: nonce, ciphertext and tag.
    """

    format: Format
    key_id: str
    version: int
    header: bytes
    sealed: bytes


@lru_cache(maxsize=4096)
def header(format_: Format, key_id: str, version: int) -> bytes:
    """Encode the 24-byte header for a key version."""
    multi = key_id.startswith(_MULTI_REGION)
    digits = key_id[4:] if multi else key_id.replace("-", "")
    return _HEADER.pack(_MAGIC, format_, multi, bytes.fromhex(digits), version)


def parse(ciphertext: bytes) -> Envelope:
    """Parse an envelope; total over all byte strings.

    Raises:
        StrongroomError: INVALID_CIPHERTEXT, for every cause the same.
    """
    if len(ciphertext) < HEADER_BYTES:
        raise StrongroomError(Reason.INVALID_CIPHERTEXT)
    head = ciphertext[:HEADER_BYTES]
    format_, key_id, version = _parse_header(head)
    if len(ciphertext) < HEADER_BYTES + NONCE_BYTES[format_] + TAG_BYTES:
        raise StrongroomError(Reason.INVALID_CIPHERTEXT)
    return Envelope(format_, key_id, version, head, ciphertext[HEADER_BYTES:])


@lru_cache(maxsize=4096)
def _parse_header(head: bytes) -> tuple[Format, str, int]:
    magic, number, kind, raw, version = _HEADER.unpack(head)
    if magic != _MAGIC or number not in NONCE_BYTES or kind > 1 or version < 1:
        raise StrongroomError(Reason.INVALID_CIPHERTEXT)
    return Format(number), _key_id(raw.hex(), multi=bool(kind)), version


def _key_id(digits: str, *, multi: bool) -> str:
    if multi:
        return _MULTI_REGION + digits
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
