"""The journal's chain: every change of every protected record, in order, hashed one into the next.

The newest entry of a record carries the MAC that the record must have, so an older copy of a row is found;
the token remembers a sequence number and head (`Anchor`), so an older copy of the whole store is found.
"""

import hashlib
import struct
from typing import Final

GENESIS: Final = hashlib.sha256(b"strongroom.journal.v1").digest()


def next_head(
    head: bytes, sequence: int, kind: str, record_id: str, row_version: int, row_mac: bytes
) -> bytes:
    """Hash an entry onto the chain.

    Args:
        head: the head before, 32 bytes (`GENESIS` before entry 1).
        sequence: the entry's number.
        kind: the kind of the record that changed.
        record_id: its primary key.
        row_version: its version after the change, 0 for a deletion.
        row_mac: its MAC after the change, 32 bytes.

    Returns:
        The head after, 32 bytes.
    """
    parts = (kind.encode(), record_id.encode(), row_mac)
    body = b"".join(struct.pack(">I", len(part)) + part for part in parts)
    return hashlib.sha256(head + struct.pack(">QQ", sequence, row_version) + body).digest()


def head_bytes(sequence: int, head: bytes) -> bytes:
    """Give the bytes whose MAC, made in the HSM, seals the chain at an entry."""
    return b"strongroom.journal-head.v1" + struct.pack(">Q", sequence) + head
