"""Encryption context: the caller's pairs, bound to a ciphertext as additional authenticated data.

`aad` is the one byte form, injective because every part is length-prefixed:

    b"strongroom.aad.v1" header    the envelope's 24 header bytes: magic, format, kind of key id, key id,
    version (envelope.py) pairs     4-byte count; for each pair, sorted by key bytes: 4-byte length, key,
    4-byte length, value (UTF-8)
"""

import struct
from collections.abc import Mapping
from functools import lru_cache

from strongroomd.domain.errors import invalid, too_large
from strongroomd.domain.limits import MAX_CONTEXT, MAX_CONTEXT_PAIRS

Context = tuple[tuple[bytes, bytes], ...]

_LENGTH = struct.Struct(">I")
EMPTY: Context = ()


def parse_context(pairs: Mapping[str, str], field: str = "encryption_context") -> Context:
    """Check a context and put it in canonical order.

    Raises:
        StrongroomError: FIELD_TOO_LARGE over 64 pairs or 8,192 bytes; INVALID_FIELD for an empty key.
    """
    if not pairs:
        return EMPTY
    if len(pairs) > MAX_CONTEXT_PAIRS:
        raise too_large(field, MAX_CONTEXT_PAIRS, "pairs")
    encoded = sorted((_utf8(key, field), _utf8(value, field)) for key, value in pairs.items())
    if sum(len(key) + len(value) + 8 for key, value in encoded) > MAX_CONTEXT:
        raise too_large(field, MAX_CONTEXT)
    if not encoded[0][0]:
        raise invalid(field, "keys must not be empty")
    return tuple(encoded)


def _utf8(text: str, field: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise invalid(field, "must be valid Unicode") from None


def aad(header: bytes, context: Context) -> bytes:
    """Give the authenticated data of a ciphertext: its envelope header (envelope.py), then the context."""
    return b"strongroom.aad.v1" + header + encode_context(context)


@lru_cache(maxsize=1024)
def encode_context(context: Context) -> bytes:
    """Encode canonical pairs, length-prefixed."""
    parts = [_LENGTH.pack(len(context))]
    for key, value in context:
        parts += (_LENGTH.pack(len(key)), key, _LENGTH.pack(len(value)), value)
    return b"".join(parts)
