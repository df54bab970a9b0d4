"""Durable records with their MACs, the journal of their changes, and what is kept beside them."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from strongroomd.domain.compliance import Finding
from strongroomd.domain.events import Event
from strongroomd.domain.records import Record

R = TypeVar("R", bound=Record)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stored(Generic[T]):
    """A record as read from the store, with the MAC that was stored beside it; not yet verified."""

    record: T
    mac: bytes


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One change of one protected record.

    Attributes:
        sequence: counts from 1 without gaps.
        kind: the record's kind.
        record_id: its primary key.
        row_version: its version after the change; 0 when the change deleted it.
        row_mac: its MAC after the change (32 bytes).
        head: SHA-256 chain head after this entry (32 bytes).
        head_mac: MAC of sequence and head, made in the HSM (32 bytes).
    """

    sequence: int
    kind: str
    record_id: str
    row_version: int
    row_mac: bytes
    head: bytes
    head_mac: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """The first answer given to an idempotency key.

    Attributes:
        principal: ARN of the caller.
        request_id: the caller's idempotency key.
        method: name of the use case.
        fingerprint: SHA-256 over method and arguments (32 bytes).
        answer: the answer in the core's own encoding.
        created_at: milliseconds since the Unix epoch.
        mac: row MAC over the rest (32 bytes).
    """

    principal: str
    request_id: str
    method: str
    fingerprint: bytes
    answer: bytes
    created_at: int
    mac: bytes


@dataclass(frozen=True, slots=True)
class Usage:
    """How often and when a key was last used for one operation; unprotected statistics."""

    key_id: str
    operation: str
    count: int
    last_used: int


class Transaction(Protocol):
    """One atomic change of the store: all of it is durable after the context manager ends, or none."""

    async def get(self, kind: type[R], record_id: str) -> Stored[R] | None:
        """Read one record as this transaction sees it."""
        ...

    async def put(self, record: Record, mac: bytes) -> None:
        """Insert the record, or replace the one whose row_version is one less.

        Raises:
            StrongroomError: ALREADY_EXISTS for a second row_version 1, ETAG_MISMATCH for any other gap.
        """
        ...

    async def delete(self, record: Record) -> None:
        """Remove a record, of a kind that may go (keys, versions and accounts stay)."""
        ...

    async def reseal(self, record: Record, mac: bytes) -> None:
        """Give a record another MAC and change nothing else. Raises ETAG_MISMATCH if it changed meanwhile."""
        ...

    async def aliases_of(self, key_id: str) -> list[Stored[Any]]:
        """List the alias records of a key."""
        ...

    async def find(self, kind: type[R], where: dict[str, str]) -> list[Stored[R]]:
        """Read the records of a kind whose columns equal `where`, in order of record_id; small sets only."""
        ...

    async def how_many(self, kind: type[Record], where: dict[str, str]) -> int:
        """Count the records of a kind whose columns equal `where`, as seen here; unverified."""
        ...

    async def append(self, entry: JournalEntry) -> None:
        """Append to the journal."""
        ...

    async def answer(self, principal: str, request_id: str) -> Answer | None:
        """Read the answer of an idempotency key."""
        ...

    async def put_answer(self, answer: Answer) -> None:
        """Remember an answer. Raises ALREADY_EXISTS when another transaction did so first."""
        ...

    async def number_event(self, subject: str) -> tuple[int, int]:
        """Take the next position among all events, and the next number among those of a subject."""
        ...

    async def put_event(self, event: Event, mac: bytes) -> None:
        """Write an event, numbered in this transaction, and its MAC."""
        ...

    async def event_since(self, type_: str, subject: str, since: int) -> bool:
        """Say whether there was such an event at `since` (ms) or later."""
        ...

    async def put_finding(self, finding: Finding) -> None:
        """Remember a finding that is not there yet."""
        ...

    async def drop_finding(self, finding: Finding) -> None:
        """Forget a finding."""
        ...


class Store(Protocol):
    """Durable records; one writer at a time: a busy store raises STORE_UNAVAILABLE within two seconds."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Begin a writing transaction; it commits when the block ends and rolls back if the block raises."""
        ...

    async def get(self, kind: type[R], record_id: str) -> Stored[R] | None:
        """Read one record."""
        ...

    async def versions(self, key_id: str) -> list[Stored[Any]]:
        """Read all version records of a key, oldest first."""
        ...

    async def page(self, kind: type[R], *, after: str, limit: int, where: dict[str, str]) -> list[Stored[R]]:
        """Read records in order of record_id, those after `after`, whose columns equal `where`."""
        ...

    async def all(self, kind: type[R]) -> list[Stored[R]]:
        """Read every record of a kind (limits, house keys; small sets)."""
        ...

    async def names(self, kind: type[Record]) -> list[str]:
        """List the ids of all records of a kind, whatever else their rows hold."""
        ...

    async def sealed_otherwise(self, kind: type[Record], tag: bytes, after: str, limit: int) -> list[str]:
        """List ids behind `after` of records whose MAC is not of the row MAC key that a tag names."""
        ...

    async def due(self, state: str, before: int) -> list[Stored[Any]]:
        """Read keys in a state whose deletion_at is set and at most `before` (ms), damaged rows left out."""
        ...

    async def expired(self, before: int) -> list[Stored[Any]]:
        """Read of imported material what expires at `before` (ms) or earlier, damaged rows left out."""
        ...

    async def stale_pairs(self, before: int, limit: int) -> list[Stored[Any]]:
        """Read wrapping pairs that expired at `before` (ms) or earlier, damaged rows left out."""
        ...

    async def next_expiry(self) -> int:
        """Say when imported material expires next, in ms since the Unix epoch; 0 if none does; unverified."""
        ...

    async def unsettled(self) -> list[Stored[Any]]:
        """Read versions of resident keys that are in INTENT or DESTROYING, damaged rows left out."""
        ...

    async def resident(self) -> list[Stored[Any]]:
        """Read every version that has an hsm_id, damaged rows left out."""
        ...

    async def how_many(self, kind: type[Record], where: dict[str, str]) -> int:
        """Count the records of a kind whose columns equal `where`; unverified statistics."""
        ...

    async def requests_closed(self, before: int, limit: int) -> list[Stored[Any]]:
        """Read quota requests that were closed at `before` (ms) or earlier, damaged rows left out."""
        ...

    async def approvals_due(self, state: str, before: int, limit: int) -> list[Stored[Any]]:
        """Read approval requests in a state whose time was over before (ms), damaged rows left out."""
        ...

    async def grants_left(self, limit: int) -> list[Stored[Any]]:
        """Read grants whose key is destroyed, damaged rows left out."""
        ...

    async def worn(self, reserved: int) -> list[Stored[Any]]:
        """Read counters that handed out at least so many invocations, damaged rows left out."""
        ...

    async def aged(self, before: int) -> list[Stored[Any]]:
        """Read current versions of enabled service keys made before (ms), damaged rows left out."""
        ...

    async def rotations_due(self, before: int, limit: int) -> list[Stored[Any]]:
        """Read schedules of enabled keys whose rotation was due before (ms), damaged rows left out."""
        ...

    async def waiting(self, before: int) -> int:
        """Count versions of multi-region primaries, made before (ms), that wait for replicas; unverified."""
        ...

    async def uncertified(self, limit: int) -> list[Stored[Any]]:
        """Read deletions without a certificate of which no object is left, damaged rows left out."""
        ...

    async def journal(self, after: int, limit: int) -> list[JournalEntry]:
        """Read journal entries with a higher sequence number, in order."""
        ...

    async def answer(self, principal: str, request_id: str) -> Answer | None:
        """Read the answer of an idempotency key."""
        ...

    async def purge_answers(self, before: int) -> int:
        """Forget answers older than `before` (ms); returns how many."""
        ...

    async def add_usage(self, deltas: Sequence[Usage]) -> None:
        """Add counts and move last-used times forward."""
        ...

    async def usage(self, key_id: str) -> list[Usage]:
        """Read a key's usage."""
        ...

    async def key_states(self) -> dict[str, int]:
        """Count the keys in each state; unverified statistics."""
        ...

    async def lease(self, name: str, holder: str, now: int, seconds: float) -> bool:
        """Take or renew a lease (times in ms); False while another holder's is alive."""
        ...

    async def lease_ends(self, name: str) -> int:
        """Say when a lease ends or ended, in ms since the Unix epoch; 0 if there never was one."""
        ...
