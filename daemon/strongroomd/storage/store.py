"""The store: records, journal, answers, usage and leases in one SQLite database (port `Store`).

Every write is one BEGIN IMMEDIATE transaction, durable when it returns. Reads take a connection of their own
and never wait for the writer longer than SQLite itself demands.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Executable, Table

from strongroomd.domain.approvalrecords import ApprovalRequestRecord
from strongroomd.domain.compliance import Finding
from strongroomd.domain.destruction import DeletionRecord
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.events import Event
from strongroomd.domain.materials import MaterialRecord, WrappingPairRecord
from strongroomd.domain.quotarequests import QuotaRequestRecord
from strongroomd.domain.records import (
    AliasRecord,
    GrantRecord,
    InvocationsRecord,
    KeyRecord,
    Record,
    VersionRecord,
)
from strongroomd.domain.rotations import ScheduleRecord
from strongroomd.ports import Answer, JournalEntry, Store, Stored, Transaction, Usage
from strongroomd.storage import outbox, statements
from strongroomd.storage.database import Database, StoreSettings, Turn
from strongroomd.storage.migration import require_current
from strongroomd.storage.rows import decode, decode_stored, decode_whole, encode
from strongroomd.storage.schema import ANSWERS, DELETABLE, JOURNAL, RECORD_TABLES

R = TypeVar("R", bound=Record)
T = TypeVar("T")
Row = dict[str, Any]
_MOST_FOUND = 1_000


def open_store(settings: StoreSettings) -> "SqlStore":
    """Open a migrated store. Blocks for some milliseconds; to be called before the loop serves.

    Raises:
        StrongroomError: CONFIGURATION for a URL that cannot be used or a database that is not at this
            daemon's revision; STORE_UNAVAILABLE if it cannot be read.
    """
    require_current(settings.url)
    return SqlStore(Database(settings))


class SqlTransaction(Transaction):
    """One BEGIN IMMEDIATE transaction."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    async def get(self, kind: type[R], record_id: str) -> Stored[R] | None:
        """Read one record as this transaction sees it."""
        rows = await self._rows(statements.by_id(_table(kind)), {"id": record_id})
        return _first(kind, rows)

    async def put(self, record: Record, mac: bytes) -> None:
        """Insert or replace a record, as the port says."""
        table = _table(type(record))
        row = encode(record) | {"mac": mac}
        if row["row_version"] == 1:
            row["record_id"] = record.record_id
            await self._change(statements.insertion(table), row, conflict=Reason.ALREADY_EXISTS)
            return
        old = {"old_id": record.record_id, "old_version": row["row_version"] - 1}
        await self._exactly_one(statements.replacement(table), row | old)

    async def delete(self, record: Record) -> None:
        """Remove a record that is still at its row_version. Raises ETAG_MISMATCH if it is not."""
        if type(record) not in DELETABLE:
            raise StrongroomError(Reason.INTERNAL, detail=f"store: a {record.KIND} is never deleted")
        where = {"id": record.record_id, "version": encode(record)["row_version"]}
        await self._exactly_one(statements.removal(_table(type(record))), where)

    async def reseal(self, record: Record, mac: bytes) -> None:
        """Give a record another MAC and change nothing else. Raises ETAG_MISMATCH if it changed meanwhile."""
        where = {"old_id": record.record_id, "old_version": encode(record)["row_version"], "new_mac": mac}
        await self._exactly_one(statements.resealing(_table(type(record))), where)

    async def aliases_of(self, key_id: str) -> list[Stored[Any]]:
        """List the alias records of a key."""
        rows = await self._rows(statements.ALIASES_OF_KEY, {"key_id": key_id})
        return [decode_stored(AliasRecord, row) for row in rows]

    async def find(self, kind: type[R], where: dict[str, str]) -> list[Stored[R]]:
        """Read the records of a kind whose columns equal `where`."""
        statement = statements.page(_table(kind), tuple(sorted(where)))
        rows = await self._rows(statement, {"after": "", "limit": _MOST_FOUND, **_equal(where)})
        return [decode_stored(kind, row) for row in rows]

    async def how_many(self, kind: type[Record], where: dict[str, str]) -> int:
        """Count the records of a kind whose columns equal `where`."""
        rows = await self._rows(statements.counting(_table(kind), tuple(sorted(where))), _equal(where))
        return int(rows[0]["count"])

    async def append(self, entry: JournalEntry) -> None:
        """Append to the journal; the database itself refuses any number but the next."""
        await self._change(statements.insertion(JOURNAL), encode(entry))

    async def answer(self, principal: str, request_id: str) -> Answer | None:
        """Read the answer of an idempotency key."""
        parameters = {"principal": principal, "request_id": request_id}
        return _first_plain(Answer, await self._rows(statements.ANSWER, parameters))

    async def put_answer(self, answer: Answer) -> None:
        """Remember an answer, once."""
        await self._change(statements.insertion(ANSWERS), encode(answer), conflict=Reason.ALREADY_EXISTS)

    async def number_event(self, subject: str) -> tuple[int, int]:
        """Take the next position and the subject's next number."""
        return await self._turn.run(lambda on: outbox.number(on, subject))

    async def put_event(self, event: Event, mac: bytes) -> None:
        """Write an event."""
        await self._turn.run(lambda on: outbox.add(on, event, mac))

    async def event_since(self, type_: str, subject: str, since: int) -> bool:
        """Say whether there was such an event."""
        return await self._turn.run(lambda on: outbox.seen_since(on, type_, subject, since))

    async def put_finding(self, finding: Finding) -> None:
        """Remember a finding."""
        await self._turn.run(lambda on: outbox.put_finding(on, finding))

    async def drop_finding(self, finding: Finding) -> None:
        """Forget a finding."""
        await self._turn.run(lambda on: outbox.drop_finding(on, finding))

    async def _rows(self, statement: Executable, parameters: Row) -> list[Row]:
        return await self._turn.run(lambda connection: _rows(connection, statement, parameters))

    async def _change(
        self, statement: Executable, parameters: Row, conflict: Reason = Reason.INTERNAL
    ) -> int:
        return await self._turn.run(lambda on: _change(on, statement, parameters), conflict)

    async def _exactly_one(self, statement: Executable, parameters: Row) -> None:
        if await self._change(statement, parameters) != 1:
            raise StrongroomError(Reason.ETAG_MISMATCH)


class SqlStore(Store):
    """The store on SQLAlchemy; belongs to one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.outbox = outbox.SqlOutbox(database)

    async def close(self) -> None:
        """Close all connections; nothing may be under way."""
        await self._database.close()

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Begin a writing transaction."""
        return self._transaction()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Transaction]:
        async with self._database.writing() as turn:
            yield SqlTransaction(turn)

    async def get(self, kind: type[R], record_id: str) -> Stored[R] | None:
        """Read one record."""
        return _first(kind, await self._read(statements.by_id(_table(kind)), id=record_id))

    async def versions(self, key_id: str) -> list[Stored[Any]]:
        """Read all version records of a key, oldest first."""
        return await self._list(VersionRecord, statements.VERSIONS_OF_KEY, key_id=key_id)

    async def page(self, kind: type[R], *, after: str, limit: int, where: dict[str, str]) -> list[Stored[R]]:
        """Read records in record_id order."""
        statement = statements.page(_table(kind), tuple(sorted(where)))
        return await self._list(kind, statement, after=after, limit=limit, **_equal(where))

    async def all(self, kind: type[R]) -> list[Stored[R]]:
        """Read every record of a kind."""
        return await self._list(kind, statements.every(_table(kind)))

    async def names(self, kind: type[Record]) -> list[str]:
        """List the ids of all records of a kind."""
        rows = await self._read(statements.names(_table(kind)))
        return [str(row["record_id"]) for row in rows]

    async def sealed_otherwise(self, kind: type[Record], tag: bytes, after: str, limit: int) -> list[str]:
        """List ids of records whose MAC is not of the key that a tag names."""
        statement = statements.sealed_otherwise(_table(kind))
        rows = await self._read(statement, tag=tag, after=after, limit=limit)
        return [str(row["record_id"]) for row in rows]

    async def due(self, state: str, before: int) -> list[Stored[Any]]:
        """Read keys whose deletion is due, the longest overdue first."""
        return await self._whole(KeyRecord, statements.DUE_KEYS, state=state, before=before)

    async def unsettled(self) -> list[Stored[Any]]:
        """Read versions of resident keys that are in INTENT or DESTROYING."""
        return await self._whole(VersionRecord, statements.UNSETTLED_VERSIONS)

    async def resident(self) -> list[Stored[Any]]:
        """Read every version that has an hsm_id."""
        return await self._whole(VersionRecord, statements.RESIDENT_VERSIONS)

    async def how_many(self, kind: type[Record], where: dict[str, str]) -> int:
        """Count the records of a kind whose columns equal `where`."""
        rows = await self._read(statements.counting(_table(kind), tuple(sorted(where))), **_equal(where))
        return int(rows[0]["count"])

    async def requests_closed(self, before: int, limit: int) -> list[Stored[Any]]:
        """Read quota requests that were closed long ago, the oldest first."""
        return await self._whole(QuotaRequestRecord, statements.REQUESTS_CLOSED, before=before, limit=limit)

    async def approvals_due(self, state: str, before: int, limit: int) -> list[Stored[Any]]:
        """Read approval requests in a state whose time was over before (ms), the oldest first."""
        found = statements.APPROVALS_DUE
        return await self._whole(ApprovalRequestRecord, found, state=state, before=before, limit=limit)

    async def grants_left(self, limit: int) -> list[Stored[Any]]:
        """Read grants of destroyed keys."""
        return await self._whole(GrantRecord, statements.GRANTS_LEFT, limit=limit)

    async def worn(self, reserved: int) -> list[Stored[Any]]:
        """Read counters that handed out so many invocations, the highest first."""
        return await self._whole(InvocationsRecord, statements.WORN_VERSIONS, reserved=reserved)

    async def aged(self, before: int) -> list[Stored[Any]]:
        """Read current versions of enabled service keys made before (ms), the oldest first."""
        return await self._whole(VersionRecord, statements.AGED_VERSIONS, before=before)

    async def rotations_due(self, before: int, limit: int) -> list[Stored[Any]]:
        """Read schedules of enabled keys whose rotation was due before (ms), the longest overdue first."""
        return await self._whole(ScheduleRecord, statements.DUE_SCHEDULES, before=before, limit=limit)

    async def waiting(self, before: int) -> int:
        """Count versions of multi-region primaries, made before (ms), that wait for replicas."""
        rows = await self._read(statements.WAITING_VERSIONS, before=before)
        return int(rows[0]["count"])

    async def uncertified(self, limit: int) -> list[Stored[Any]]:
        """Read deletions that were carried out whole and have no certificate yet, the oldest first."""
        return await self._whole(DeletionRecord, statements.UNCERTIFIED, limit=limit)

    async def expired(self, before: int) -> list[Stored[Any]]:
        """Read what is known of imported material that expires at `before` (ms) or earlier, in that order."""
        return await self._whole(MaterialRecord, statements.EXPIRED_MATERIALS, before=before)

    async def stale_pairs(self, before: int, limit: int) -> list[Stored[Any]]:
        """Read wrapping pairs that expired at `before` (ms) or earlier, the oldest first."""
        return await self._whole(WrappingPairRecord, statements.STALE_PAIRS, before=before, limit=limit)

    async def next_expiry(self) -> int:
        """Say when the next imported material expires; 0 if none does."""
        return int((await self._read(statements.NEXT_EXPIRY))[0]["next"] or 0)

    async def journal(self, after: int, limit: int) -> list[JournalEntry]:
        """Read journal entries with a higher sequence number, in order."""
        rows = await self._read(statements.ENTRIES_AFTER, after=after, limit=limit)
        return [decode(JournalEntry, row) for row in rows]

    async def answer(self, principal: str, request_id: str) -> Answer | None:
        """Read the answer of an idempotency key."""
        rows = await self._read(statements.ANSWER, principal=principal, request_id=request_id)
        return _first_plain(Answer, rows)

    async def purge_answers(self, before: int) -> int:
        """Forget answers older than `before` (ms)."""
        return await self._write(lambda on: _change(on, statements.OLD_ANSWERS, {"before": before}))

    async def add_usage(self, deltas: Sequence[Usage]) -> None:
        """Add counts and move last-used times forward, in one transaction."""
        rows = [encode(delta) for delta in deltas]
        if rows:
            await self._write(lambda on: on.execute(statements.ADD_USAGE, rows))

    async def usage(self, key_id: str) -> list[Usage]:
        """Read a key's usage."""
        return [decode(Usage, row) for row in await self._read(statements.USAGE_OF_KEY, key_id=key_id)]

    async def key_states(self) -> dict[str, int]:
        """Count the keys in each state."""
        return {str(row["state"]): int(row["count"]) for row in await self._read(statements.KEY_STATES)}

    async def lease(self, name: str, holder: str, now: int, seconds: float) -> bool:
        """Take or renew a lease; whoever would be refused anyway does not disturb the writer.

        A lease that ends absurdly late was taken before the clock was set back, and does not count.
        """
        length = int(seconds * 1000)
        absurd = now + 2 * length
        found = await self._read(statements.LEASE, name=name)
        if found and found[0]["holder"] != holder and _between(now, found[0]["expires_at"], absurd):
            return False
        row = {"name": name, "holder": holder, "expires_at": now + length, "now": now, "absurd": absurd}
        return await self._write(lambda on: on.execute(statements.TAKE_LEASE, row).first() is not None)

    async def lease_ends(self, name: str) -> int:
        """Say when a lease ends or ended."""
        found = await self._read(statements.LEASE, name=name)
        return int(found[0]["expires_at"]) if found else 0

    async def _write(self, work: Callable[[Connection], T]) -> T:
        async with self._database.writing() as turn:
            return await turn.run(work)

    async def _read(self, statement: Executable, **parameters: Any) -> list[Row]:  # noqa: ANN401 - SQL values
        return await self._database.read(lambda connection: _rows(connection, statement, parameters))

    async def _list(
        self,
        kind: type[R],
        statement: Executable,
        **parameters: Any,  # noqa: ANN401 - SQL values
    ) -> list[Stored[R]]:
        return [decode_stored(kind, row) for row in await self._read(statement, **parameters)]

    async def _whole(
        self,
        kind: type[R],
        statement: Executable,
        **parameters: Any,  # noqa: ANN401 - SQL values
    ) -> list[Stored[R]]:
        return decode_whole(kind, await self._read(statement, **parameters))


def _between(now: int, expires_at: object, absurd: int) -> bool:
    return isinstance(expires_at, int) and now < expires_at <= absurd


def _equal(where: dict[str, str]) -> Row:
    return {f"is_{column}": value for column, value in where.items()}


def _table(kind: type[Record]) -> Table:
    return RECORD_TABLES[kind]


def _first(kind: type[R], rows: list[Row]) -> Stored[R] | None:
    return decode_stored(kind, rows[0]) if rows else None


def _first_plain(cls: type[T], rows: list[Row]) -> T | None:
    return decode(cls, rows[0]) if rows else None


def _rows(connection: Connection, statement: Executable, parameters: Row) -> list[Row]:
    return [dict(row) for row in connection.execute(statement, parameters).mappings()]


def _change(connection: Connection, statement: Executable, parameters: Row) -> int:
    return connection.execute(statement, parameters).rowcount
