"""What the core needs from outside, as Protocols, with the duties of whoever provides it.

Deadlines are `time.monotonic()` seconds. Every method raises only `StrongroomError`. Calls come from one
asyncio loop; an implementation may use threads of its own but must answer on that loop.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from strongroomd.domain.adoption import AdoptedObject, ObjectName
from strongroomd.domain.algorithms import (
    EncryptionAlgorithm,
    KeySpec,
    KeyUsage,
    MacAlgorithm,
    SigningAlgorithm,
)
from strongroomd.domain.audit import Checkpoint, Head
from strongroomd.domain.compliance import Finding
from strongroomd.domain.delivery import Delivery, SinkState
from strongroomd.domain.events import Event
from strongroomd.domain.keys import Anchor, BoundVersion, Material, ResidentObject
from strongroomd.domain.records import CustodyMode, Record
from strongroomd.domain.tokens import MAIN

R = TypeVar("R", bound=Record)
T = TypeVar("T")


class Vault(Protocol):
    """The HSM room: keys are born here, loaded here and used here; their bytes never come out.

    It may be several tokens. A key is used where its version lives: with the KEK that wraps it, or in the
    token that its record names. A token that cannot be used now raises HSM_UNAVAILABLE for its keys alone.
    What a house has once (row MAC, checkpoints, anchor, random numbers) is the main token's.
    """

    def tokens(self) -> tuple[str, ...]:
        """Name all tokens that keys may live in, the main one first, those that are away now among them."""
        ...

    def usable(self, token: str) -> bool:
        """Say whether a token can be used as far as is known; for tasks that can wait. It is not asked."""
        ...

    def placement(
        self,
        spec: KeySpec,
        usage: KeyUsage,
        mode: CustodyMode | None,
        *,
        exportable: bool,
        token: str = MAIN,
    ) -> tuple[CustodyMode, str]:
        """Choose how a new key will live in a token, and say why when the caller did not ask for it.

        Raises:
            StrongroomError: UNSUPPORTED_BY_TOKEN naming the mechanism that the token lacks, HSM_UNAVAILABLE.
        """
        ...

    async def generate(
        self,
        spec: KeySpec,
        usage: KeyUsage,
        mode: CustodyMode,
        *,
        exportable: bool,
        hsm_id: str,
        deadline: float,
        token: str = MAIN,
    ) -> Material:
        """Make new material in a token.

        Wrapped: nothing stays in the token. Resident: one token object with CKA_ID `hsm_id`
        (32 hex digits), read back and proved usable before this returns; not idempotent. How symmetric
        material encrypts (`Material.scheme`) is the vault's choice, by its settings and what the token has.
        """
        ...

    async def examine(self, name: ObjectName, *, deadline: float, token: str = MAIN) -> AdoptedObject:
        """Find an object that was in a token before us, read it and prove what it can do; nothing is changed.

        Raises:
            StrongroomError: NOT_FOUND; INVALID_FIELD (`cka_id` or `label`) when it is not exactly one, the
                daemon's own, or not a key that can be adopted; UNSUPPORTED_BY_TOKEN when it does not let
                AES-GCM be used; HSM_UNAVAILABLE.
        """
        ...

    async def seal(self, key: BoundVersion, plaintext: bytes, aad: bytes, *, deadline: float) -> bytes:
        """Encrypt under a symmetric key by its version's scheme, with a fresh random nonce.

        Returns nonce (XAES-256-GCM 24 bytes, AES-256-GCM 12) || ciphertext || tag (16). Under AES-256-GCM the
        caller has counted the invocation before.
        """
        ...

    async def seal_apart(
        self, key: BoundVersion, plaintext: bytes, aad_of: Callable[[bytes], bytes], *, deadline: float
    ) -> bytes:
        """Encrypt as `seal` does, where the authenticated data tell of the nonce.

        Args:
            key: the version.
            plaintext: what to encrypt.
            aad_of: gives the authenticated data, from the nonce's first 12 bytes under XAES-256-GCM, of which
                the sub-key is derived, and from nothing under AES-256-GCM. It may be asked twice.
            deadline: monotonic seconds.
        """
        ...

    async def open(self, key: BoundVersion, sealed: bytes, aad: bytes, *, deadline: float) -> bytes:
        """Undo `seal`. Raises INVALID_CIPHERTEXT for whatever does not verify, always the same."""
        ...

    async def rsa_decrypt(
        self, key: BoundVersion, algorithm: EncryptionAlgorithm, ciphertext: bytes, *, deadline: float
    ) -> bytes:
        """Undo RSAES-OAEP. Raises INVALID_CIPHERTEXT for whatever does not decrypt, always the same."""
        ...

    async def sign(
        self, key: BoundVersion, algorithm: SigningAlgorithm, data: bytes, *, deadline: float
    ) -> bytes:
        """Sign a digest (RSA, ECDSA; its length is already checked) or, for Ed25519, the message itself.

        Returns the signature as AWS KMS does: DER for ECDSA, raw otherwise. RSA signatures are verified
        before they are returned.
        """
        ...

    async def mac(
        self, key: BoundVersion, algorithm: MacAlgorithm, message: bytes, *, deadline: float
    ) -> bytes:
        """Make a full-length HMAC."""
        ...

    async def agree(self, key: BoundVersion, peer: bytes, *, deadline: float) -> bytes:
        """Derive the raw ECDH secret with a peer's uncompressed point, already checked to be on the curve."""
        ...

    async def data_key_pair(self, spec: KeySpec, *, deadline: float) -> tuple[bytearray, bytes]:
        """Make a key pair that leaves: (PKCS#8 DER private key, SubjectPublicKeyInfo DER)."""
        ...

    async def random(self, length: int) -> bytes:
        """Give `length` random bytes of the token's generator XOR the host's."""
        ...

    async def row_mac(self, data: bytes) -> bytes:
        """HMAC-SHA-256 of a record's canonical bytes under the row MAC house key (32 bytes)."""
        ...

    async def sign_checkpoint(self, data: bytes) -> bytes:
        """ECDSA P-256 SHA-256 signature (DER) over `data` under the checkpoint house key."""
        ...

    async def read_anchor(self) -> Anchor | None:
        """Read the newest anchor of the token; None only in a token that never had one."""
        ...

    async def write_anchor(self, anchor: Anchor) -> None:
        """Make the new anchor, then destroy the old ones: a kill in between leaves the newest readable."""
        ...

    async def list_resident(self, token: str = MAIN) -> list[ResidentObject]:
        """List a token's objects of resident keys. Raises HSM_UNAVAILABLE unless its sentinel is visible."""
        ...

    async def destroy_resident(self, hsm_id: str, token: str = MAIN) -> None:
        """Destroy a resident key's objects and confirm it by a fresh search; absent objects are no error."""
        ...

    def forget(self, key_id: str) -> None:
        """Drop whatever is cached of a key (handles, sub-keys), once calls in flight are done with it."""
        ...

    async def probe(self) -> None:
        """Prove by a canary operation on a fresh session that the token works. Raises HSM_UNAVAILABLE."""
        ...

    async def exercise(self, token: str = MAIN) -> float:
        """Encrypt and decrypt random bytes in a token, under a key for nothing else, and compare.

        Returns the seconds that both took. Raises HSM_UNAVAILABLE, within two seconds, for whatever is wrong.
        """
        ...

    def describe(self, token: str = MAIN) -> str:
        """Say what a token is: manufacturer, model, firmware; at most 64 characters of printable ASCII.

        As it said itself when it was opened; empty for one that never was.
        """
        ...


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

    async def due(self, state: str, before: int) -> list[Stored[Any]]:
        """Read keys in a state whose deletion_at is set and at most `before` (ms), damaged rows left out."""
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

    async def grants_left(self, limit: int) -> list[Stored[Any]]:
        """Read grants whose key is destroyed, damaged rows left out."""
        ...

    async def worn(self, reserved: int) -> list[Stored[Any]]:
        """Read counters that handed out at least so many invocations, damaged rows left out."""
        ...

    async def aged(self, before: int) -> list[Stored[Any]]:
        """Read current versions of enabled service keys made before (ms), damaged rows left out."""
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


class Outbox(Protocol):
    """Events on their way out, beside the records whose changes they are. All times are ms."""

    async def events(self, after: int, limit: int) -> list[tuple[Event, bytes]]:
        """Read events behind a position, in order, each with its MAC; not yet verified."""
        ...

    async def event(self, position: int) -> tuple[Event, bytes] | None:
        """Read one event and its MAC; None once it was purged."""
        ...

    async def span(self) -> tuple[int, int]:
        """Give the positions of the oldest event that is kept (0 for none) and of the newest ever."""
        ...

    async def register(self, names: Sequence[str]) -> None:
        """Begin to keep the state of those who want events, from the newest on; known ones stay as they are.

        Events that one of them has not taken up are not purged.
        """
        ...

    async def note(self, state: SinkState) -> None:
        """Keep a state that is not there yet, of something that takes up no events."""
        ...

    async def sinks(self) -> list[SinkState]:
        """Read the state of every sink that was ever registered."""
        ...

    async def settle(
        self,
        state: SinkState | None,
        put: Sequence[Delivery] = (),
        drop: Sequence[Delivery] = (),
    ) -> None:
        """Keep what became of deliveries, in one transaction; a sink's position never goes back."""
        ...

    async def deliveries(self, sink: str, *, dead: bool, after: int, limit: int) -> list[Delivery]:
        """Read a sink's waiting deliveries or its dead letters behind a position, in order."""
        ...

    async def counts(self) -> dict[str, tuple[int, int]]:
        """Count each sink's waiting deliveries and dead letters."""
        ...

    async def oldest_after(self, position: int) -> int:
        """Give the time of the oldest event behind a position; 0 for none."""
        ...

    async def fire(self, rule: str, subject: str, position: int, now: int, most: int) -> bool:
        """Note that a rule acts on an event; False if it did so `most` times within the hour for the subject.

        The same rule and event again are allowed again and counted once.
        """
        ...

    async def purge(self, *, events_before: int, dead_before: int, limit: int) -> int:
        """Forget older delivered events, dead letters and firings; at most so many events at once."""
        ...

    async def findings(self, *, after: tuple[str, str], limit: int) -> list[Finding]:
        """Read what the last compliance run found, in order of subject and check."""
        ...


class Sink(Protocol):
    """Somebody who wants events."""

    async def send(self, event: Event) -> None:
        """Deliver one event; on return the sink has it. Bounded in time.

        Raises:
            Undelivered: it may not have it. It is sent again later with the same id.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class AuditLog(Protocol):
    """The worker's own audit chain."""

    async def write(self, record: dict[str, Any]) -> None:
        """Append one record; durable on return. Raises AUDIT_UNAVAILABLE within 200 ms otherwise."""
        ...


@dataclass(frozen=True, slots=True)
class AuditWanted:
    """Which audit records are wanted; an empty text wants all.

    Attributes:
        key: ARN of one of the record's keys.
        principal: ARN of the record's principal, or of its role session.
        action: the record's action.
        outcome: the record's outcome.
        since, until: RFC 3339 in UTC with milliseconds; records at or after the first, before the second.
        account: 12 digits; records whose principal, keys or other resource belong to it.
    """

    key: str = ""
    principal: str = ""
    action: str = ""
    outcome: str = ""
    since: str = ""
    until: str = ""
    account: str = ""


@dataclass(frozen=True, slots=True)
class AuditPage:
    """What one look into the audit log found.

    Attributes:
        records: oldest first; maybe none, though there are more.
        after: where the next look goes on; empty if nothing is left to be looked at.
    """

    records: list[dict[str, Any]]
    after: str


class AuditTrail(Protocol):
    """All chains of the node's audit log and the checkpoints over them.

    Records read here are verified along their chain; a chain that does not verify raises INTEGRITY_FAILURE.
    """

    async def page(self, wanted: AuditWanted, *, after: str, limit: int) -> AuditPage:
        """Look for records, at most `limit`, with bounded work: fewer or none may be found.

        `after` is where the look before ended, empty for the first. Raises INVALID_PAGE_TOKEN for what is
        no such place.
        """
        ...

    def tail(self, wanted: AuditWanted) -> AsyncIterator[dict[str, Any]]:
        """Give records as they become durable, from now on, without end."""
        ...

    async def newest(self) -> tuple[Checkpoint, bytes] | None:
        """Read the newest checkpoint and its signature (DER); the signature is not verified here."""
        ...

    async def nth(self, number: int) -> tuple[Checkpoint, bytes] | None:
        """Read the checkpoint of a number, if there is one."""
        ...

    async def heads(self, trusted: Checkpoint | None) -> tuple[Head, ...]:
        """Verify what the chains grew by, the first time from a trusted checkpoint on; give their heads."""
        ...

    async def append(self, checkpoint: Checkpoint, signature: bytes) -> None:
        """Append a signed checkpoint durably, and move chains that it closes out of the way."""
        ...

    async def close_dead(self) -> int:
        """Close the chains of workers that died; returns how many could not be closed."""
        ...


@dataclass(frozen=True, slots=True)
class Charge:
    """A cost to be taken from one quota bucket.

    Attributes:
        bucket: unique name, e.g. `CLASS/<account>/SYMMETRIC`.
        cost: in cost units; may exceed the burst only by being refused.
        per_second, burst: the bucket's limit.
    """

    bucket: str
    cost: int
    per_second: int
    burst: int


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Why a spend was refused: the bucket with the longest wait, and that wait in seconds."""

    bucket: str
    wait: float


class QuotaTable(Protocol):
    """Arrival times shared by all workers of a node; see domain/quota.py for the arithmetic."""

    def spend(self, charges: Sequence[Charge]) -> Shortfall | None:
        """Take all charges or none, in microseconds; waits for a sibling's few instructions at most."""
        ...

    def available(self, charge: Charge) -> int:
        """Cost units that the charge's bucket would grant now."""
        ...
