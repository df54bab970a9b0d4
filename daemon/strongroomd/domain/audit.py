"""The audit log's arithmetic: how records chain, and what a checkpoint says about the chains.

A chain is one worker's record of what it did. Each record's hash covers the hash before it, so that no record
can be changed, dropped or moved without changing every later hash; a signed checkpoint fixes the newest ones.

    hash[0] = SHA-256(SHA-256(origin) || record[0])      hash[n] = SHA-256(hash[n-1] || record[n])

where a record is canonical JSON: UTF-8, keys sorted, no spaces. A line of a chain is
`<64 hex digits of the hash> <record>` and a line feed.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

HASH_SIZE: Final = 32
_HEX: Final = 2 * HASH_SIZE
_DOMAIN: Final = b"strongroom.checkpoint.v1\n"

OPENED: Final = "chain.opened"
CLOSED: Final = "chain.closed"


def canonical(record: Mapping[str, Any]) -> bytes:
    """Give a record's one byte form. Raises TypeError for what JSON cannot say."""
    try:
        return orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise TypeError("an audit record must be plain JSON") from error


def genesis(origin: str) -> bytes:
    """Give the hash that stands before a chain's first record."""
    return hashlib.sha256(origin.encode()).digest()


def link(previous: bytes, body: bytes) -> bytes:
    """Give the hash of the record `body` that follows the hash `previous`."""
    return hashlib.sha256(previous + body).digest()


def format_line(digest: bytes, body: bytes) -> bytes:
    """Write a record as a line of its chain."""
    return b"%b %b\n" % (digest.hex().encode(), body)


def parse_line(line: bytes) -> tuple[bytes, bytes]:
    """Take a line (with its line feed) apart into hash and body. Raises ValueError if it is none."""
    if len(line) < _HEX + 2 or line[_HEX : _HEX + 1] != b" " or not line.endswith(b"\n"):
        raise ValueError("not a line of an audit chain")
    hexadecimal = line[:_HEX].decode("ascii")
    digest = bytes.fromhex(hexadecimal)
    if digest.hex() != hexadecimal:
        raise ValueError("not a line of an audit chain")
    return digest, line[_HEX + 1 : -1]


@dataclass(frozen=True, slots=True)
class Head:
    """How far a chain goes.

    Attributes:
        origin: the chain's name, `<node>-<worker>-<start ms>-<4 hex>`.
        count: records.
        size: bytes of those records' lines.
        digest: hash of the last of them (32 bytes).
    """

    origin: str
    count: int
    size: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the HSM signs: how far each chain goes, and how far the store's journal.

    Attributes:
        number: counts from 1 without gaps.
        time: milliseconds since the Unix epoch.
        previous: `digest` of the checkpoint before (32 bytes); zeros for the first.
        heads: every chain that is open or was closed since the previous checkpoint, sorted by origin.
        journal_sequence: the store's newest change.
        journal_head: chain head of the journal there (32 bytes).
        next_key: public half (DER SubjectPublicKeyInfo) of the key that signs the following checkpoints,
            where that is another one: whoever trusts this one's signature trusts theirs. Empty else.
    """

    number: int
    time: int
    previous: bytes
    heads: tuple[Head, ...]
    journal_sequence: int
    journal_head: bytes
    next_key: bytes = b""

    def message(self) -> bytes:
        """Give the bytes that are signed."""
        return _DOMAIN + canonical(self.fields())

    def digest(self) -> bytes:
        """Give the hash by which the next checkpoint and the token's anchor name this one."""
        return hashlib.sha256(self.message()).digest()

    def fields(self) -> dict[str, Any]:
        """Give the checkpoint as plain JSON; bytes become hex."""
        fields: dict[str, Any] = {
            "number": self.number,
            "time": self.time,
            "previous": self.previous.hex(),
            "chains": [[head.origin, head.count, head.size, head.digest.hex()] for head in self.heads],
            "journal_sequence": self.journal_sequence,
            "journal_head": self.journal_head.hex(),
        }
        if self.next_key:
            fields["next_key"] = self.next_key.hex()
        return fields


def parse_checkpoint(fields: Any) -> Checkpoint:  # noqa: ANN401 - what JSON gave
    """Make a checkpoint of what `Checkpoint.fields` gave. Raises ValueError for anything else."""
    try:
        checkpoint = Checkpoint(
            number=_count(fields["number"]),
            time=_count(fields["time"]),
            previous=_digest(fields["previous"]),
            heads=tuple(_head(*item) for item in fields["chains"]),
            journal_sequence=_count(fields["journal_sequence"]),
            journal_head=_digest(fields["journal_head"]),
            next_key=_octets(fields.get("next_key", "")),
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("not a checkpoint") from error
    if checkpoint.fields() != fields:
        raise ValueError("not a checkpoint")
    return checkpoint


def next_checkpoint(
    before: Checkpoint | None,
    heads: tuple[Head, ...],
    *,
    time: int,
    journal_sequence: int,
    journal_head: bytes,
    next_key: bytes = b"",
) -> Checkpoint:
    """Make the checkpoint that follows `before`."""
    return Checkpoint(
        number=before.number + 1 if before else 1,
        time=time,
        previous=before.digest() if before else bytes(HASH_SIZE),
        heads=tuple(sorted(heads, key=lambda head: head.origin)),
        journal_sequence=journal_sequence,
        journal_head=journal_head,
        next_key=next_key,
    )


def _head(origin: object, count: object, size: object, digest: object) -> Head:
    if not isinstance(origin, str):
        raise TypeError("not an origin")
    return Head(origin, _count(count), _count(size), _digest(digest))


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("not a count")
    return value


def _octets(value: object) -> bytes:
    if not isinstance(value, str):
        raise ValueError("not hexadecimal")  # noqa: TRY004 - bad data, not a caller's mistake
    return bytes.fromhex(value)


def _digest(value: object) -> bytes:
    digest = bytes.fromhex(value) if isinstance(value, str) else b""
    if len(digest) != HASH_SIZE:
        raise ValueError("not a hash")
    return digest
