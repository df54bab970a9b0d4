"""Bytes of an external key store's ciphertexts: ciphertextMetadata, authenticated data, integrity value.

ciphertextMetadata says how a ciphertext was made and by which version of the key, so that the key behind an
external id may rotate:

    offset  size  meaning
    0       1     layout: 1 = XAES-256-GCM (C2SP), 2 = AES-256-GCM under the key itself
    1       4     key version, big endian, from 1
    5       12    layout 1 only: the first half of the nonce, from which the sub-key is derived

The initializationVector has 12 bytes in both. Numbers of layouts are never reused; old ones are opened for
ever (section "additionalAuthenticatedData" of the specification).
"""

import hashlib
import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from strongroomd.domain.algorithms import Scheme

IV_BYTES: Final = 12
TAG_BYTES: Final = 16
PREFIX_BYTES: Final = 12
MAX_METADATA: Final = 20  # bytes of ciphertextMetadata that KMS stores
MAX_AAD: Final = 16_384  # bytes; at least 8,192 must be taken, and two bytes of length could tell of 65,535
MAX_PLAINTEXT: Final = 8_192  # bytes; at least 4,300 must be taken

_HEAD: Final = struct.Struct(">BI")


class Layout(IntEnum):
    """How a ciphertext was made."""

    XAES_256_GCM = 1
    AES_256_GCM = 2


LAYOUTS: Final = {Scheme.DEFAULT: Layout.XAES_256_GCM, Scheme.AES_GCM: Layout.AES_256_GCM}
"""The layout that versions of a scheme write, and the only one that they open."""

_PREFIXES: Final = {Layout.XAES_256_GCM: PREFIX_BYTES, Layout.AES_256_GCM: 0}


@dataclass(frozen=True, slots=True)
class SealedParts:
    """A ciphertext as KMS stores it.

    Attributes:
        ciphertext: as long as the plaintext.
        iv: 12 bytes of ours, 12 or 16 of another proxy's.
        tag: 16 bytes.
        metadata: at most 20 bytes; may be empty.
        integrity: ciphertextDataIntegrityValue (32 bytes), where it was asked for.
    """

    ciphertext: bytes
    iv: bytes
    tag: bytes
    metadata: bytes = b""
    integrity: bytes = field(default=b"")


@dataclass(frozen=True, slots=True)
class Made:
    """What ciphertextMetadata says."""

    layout: Layout
    version: int
    prefix: bytes


def encode_metadata(layout: Layout, version: int, prefix: bytes) -> bytes:
    """Write ciphertextMetadata."""
    return _HEAD.pack(layout, version) + prefix


def parse_metadata(metadata: bytes) -> Made | None:
    """Read ciphertextMetadata; None for what this daemon cannot have written."""
    if len(metadata) < _HEAD.size:
        return None
    number, version = _HEAD.unpack_from(metadata)
    prefix = metadata[_HEAD.size :]
    if number not in _PREFIXES or version < 1 or len(prefix) != _PREFIXES[Layout(number)]:
        return None
    return Made(Layout(number), version, prefix)


def framed(aad: bytes, metadata: bytes) -> bytes:
    """Give the authenticated data for the HSM: both parts behind their lengths, in 2 and in 1 byte.

    At most 16,384 and 20 bytes: so no such data begins as that of the native door does (context.py).
    """
    return len(aad).to_bytes(2) + aad + len(metadata).to_bytes(1) + metadata


def digested(aad: bytes | None, metadata: bytes) -> bytes:
    """Give the authenticated data as AWS's sample proxy made it: SHA-256 of the AAD in the AAD's place.

    Args:
        aad: None where the request has no such field, which is not the same as an empty one.
        metadata: ciphertextMetadata.
    """
    digest = b"" if aad is None else hashlib.sha256(aad).digest()
    return len(aad or b"").to_bytes(2) + digest + len(metadata).to_bytes(1) + metadata


def integrity_value(aad: bytes, parts: SealedParts) -> bytes:
    """Give the ciphertextDataIntegrityValue: SHA-256 over AAD, metadata, IV, ciphertext and tag."""
    whole = hashlib.sha256(aad)
    for part in (parts.metadata, parts.iv, parts.ciphertext, parts.tag):
        whole.update(part)
    return whole.digest()
