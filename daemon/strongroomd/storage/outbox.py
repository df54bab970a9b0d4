"""The outbox: events, what became of them at each sink, and what rules did about them (port `Outbox`).

Events are written by the transaction that changes the records (`store.SqlTransaction`, which calls `number`
and `add` here). Everything else is this module's own, small transactions: what a kill leaves undone is done
again.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Executable, bindparam, delete, exists, func, select, update
from sqlalchemy.dialects import sqlite

from strongroomd.domain.compliance import Finding
from strongroomd.domain.delivery import Delivery, SinkState
from strongroomd.domain.events import Event
from strongroomd.domain.rules import HOUR_MS
from strongroomd.ports import Outbox
from strongroomd.storage.database import Database
from strongroomd.storage.rows import damaged, decode, encode
from strongroomd.storage.schema import DELIVERIES, EVENT_COUNTERS, EVENTS, FINDINGS, FIRINGS, SINKS

T = TypeVar("T")
Row = dict[str, Any]
_ALL: Final = ""  # the counter of positions; no subject is empty


def _next_number() -> Executable:
    row = sqlite.insert(EVENT_COUNTERS).values(name=bindparam("counter"), last=1)
    return row.on_conflict_do_update(
        index_elements=["name"], set_={"last": EVENT_COUNTERS.c.last + 1}
    ).returning(EVENT_COUNTERS.c.last)


def _register() -> Executable:
    return sqlite.insert(SINKS).on_conflict_do_nothing()


def _put_delivery() -> Executable:
    row = sqlite.insert(DELIVERIES)
    changed = {name: row.excluded[name] for name in ("tries", "next_try", "dead_at", "error")}
    return row.on_conflict_do_update(index_elements=["sink", "position"], set_=changed)


def _keep_state() -> Executable:
    values: Row = {column.name: bindparam(f"new_{column.name}") for column in SINKS.columns}
    values["position"] = func.max(
        SINKS.c.position, bindparam("new_position")
    )  # another may be further already
    del values["name"]
    return update(SINKS).where(SINKS.c.name == bindparam("new_name")).values(values)


_NEXT: Final = _next_number()
_REGISTER: Final = _register()
_PUT_DELIVERY: Final = _put_delivery()
_KEEP_STATE: Final = _keep_state()
_NEWEST: Final = select(EVENT_COUNTERS.c.last).where(EVENT_COUNTERS.c.name == _ALL)
_OLDEST: Final = select(func.min(EVENTS.c.position).label("oldest"))
_AFTER: Final = (
    select(EVENTS)
    .where(EVENTS.c.position > bindparam("after"))
    .order_by(EVENTS.c.position)
    .limit(bindparam("limit"))
)
_ONE: Final = select(EVENTS).where(EVENTS.c.position == bindparam("place"))
_SINCE: Final = (
    select(EVENTS.c.position)
    .where(
        EVENTS.c.type == bindparam("kind"),
        EVENTS.c.subject == bindparam("about"),
        EVENTS.c.time >= bindparam("since"),
    )
    .limit(1)
)
_DROP_DELIVERY: Final = delete(DELIVERIES).where(
    DELIVERIES.c.sink == bindparam("of_sink"), DELIVERIES.c.position == bindparam("place")
)
_QUEUE: Final = {
    dead: select(DELIVERIES)
    .where(
        DELIVERIES.c.sink == bindparam("of_sink"),
        DELIVERIES.c.position > bindparam("after"),
        (DELIVERIES.c.dead_at > 0) if dead else (DELIVERIES.c.dead_at == 0),
    )
    .order_by(DELIVERIES.c.position)
    .limit(bindparam("limit"))
    for dead in (False, True)
}
_COUNTS: Final = select(
    DELIVERIES.c.sink,
    func.sum(DELIVERIES.c.dead_at == 0).label("waiting"),
    func.sum(DELIVERIES.c.dead_at > 0).label("dead"),
).group_by(DELIVERIES.c.sink)
_FIRED: Final = select(func.count().label("count")).where(
    FIRINGS.c.rule == bindparam("of_rule"),
    FIRINGS.c.subject == bindparam("about"),
    FIRINGS.c.time > bindparam("since"),
    FIRINGS.c.position != bindparam("place"),
)
_FIRE: Final = sqlite.insert(FIRINGS).on_conflict_do_nothing()
_OLD_FIRINGS: Final = delete(FIRINGS).where(FIRINGS.c.time < bindparam("before"))
_OLD_LETTERS: Final = delete(DELIVERIES).where(
    DELIVERIES.c.dead_at > 0, DELIVERIES.c.dead_at < bindparam("before")
)
_OLD_EVENTS: Final = delete(EVENTS).where(
    EVENTS.c.position.in_(
        select(EVENTS.c.position)
        .where(
            EVENTS.c.position <= bindparam("upto"),
            EVENTS.c.time < bindparam("before"),
            ~exists().where(DELIVERIES.c.position == EVENTS.c.position),
        )
        .order_by(EVENTS.c.position)
        .limit(bindparam("limit"))
    )
)
_LEAST: Final = select(func.min(SINKS.c.position).label("least")).where(
    SINKS.c.name.in_(bindparam("names", expanding=True))
)
_PUT_FINDING: Final = sqlite.insert(FINDINGS).on_conflict_do_nothing()
_DROP_FINDING: Final = delete(FINDINGS).where(
    FINDINGS.c.subject == bindparam("about"), FINDINGS.c.check == bindparam("kind")
)
_FINDINGS: Final = (
    select(FINDINGS)
    .where(
        (FINDINGS.c.subject > bindparam("about"))
        | ((FINDINGS.c.subject == bindparam("about")) & (FINDINGS.c.check > bindparam("kind")))
    )
    .order_by(FINDINGS.c.subject, FINDINGS.c.check)
    .limit(bindparam("limit"))
)


def number(connection: Connection, subject: str) -> tuple[int, int]:
    """Take the next position and the subject's next number."""
    position, sequence = (
        int(connection.execute(_NEXT, {"counter": name}).scalar_one()) for name in (_ALL, subject)
    )
    return position, sequence


def add(connection: Connection, event: Event, mac: bytes) -> None:
    """Write an event."""
    connection.execute(EVENTS.insert(), encode(event) | {"mac": mac})


def seen_since(connection: Connection, type_: str, subject: str, since: int) -> bool:
    """Say whether there was such an event."""
    found = connection.execute(_SINCE, {"kind": type_, "about": subject, "since": since})
    return found.first() is not None


def put_finding(connection: Connection, finding: Finding) -> None:
    """Remember a finding."""
    connection.execute(_PUT_FINDING, encode(finding))


def drop_finding(connection: Connection, finding: Finding) -> None:
    """Forget a finding."""
    connection.execute(_DROP_FINDING, {"about": finding.subject, "kind": finding.check})


class SqlOutbox(Outbox):
    """The outbox on the store's database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._consumers: tuple[str, ...] = ()

    async def events(self, after: int, limit: int) -> list[tuple[Event, bytes]]:
        """Read events behind a position."""
        return [_event(row) for row in await self._read(_AFTER, after=after, limit=limit)]

    async def event(self, position: int) -> tuple[Event, bytes] | None:
        """Read one event."""
        rows = await self._read(_ONE, place=position)
        return _event(rows[0]) if rows else None

    async def span(self) -> tuple[int, int]:
        """Give the oldest and the newest position."""
        newest = await self._read(_NEWEST)
        oldest = await self._read(_OLDEST)
        return int(oldest[0]["oldest"] or 0), int(newest[0]["last"]) if newest else 0

    async def register(self, names: Sequence[str]) -> None:
        """Begin to keep the state of sinks."""

        def work(connection: Connection) -> None:
            newest = int(connection.execute(_NEWEST).scalar() or 0)
            connection.execute(_REGISTER, [encode(SinkState(name, newest)) for name in names])

        if set(names) - {state.name for state in await self.sinks()}:
            await self._write(work)
        self._consumers = tuple(names)

    async def note(self, state: SinkState) -> None:
        """Keep a state that is not there yet."""
        if state.name not in {known.name for known in await self.sinks()}:
            await self._write(lambda on: on.execute(_REGISTER, encode(state)))

    async def sinks(self) -> list[SinkState]:
        """Read the state of every sink."""
        return [decode(SinkState, row) for row in await self._read(select(SINKS))]

    async def settle(
        self, state: SinkState | None, put: Sequence[Delivery] = (), drop: Sequence[Delivery] = ()
    ) -> None:
        """Keep what became of deliveries."""

        def work(connection: Connection) -> None:
            if state is not None:
                named = {f"new_{name}": value for name, value in encode(state).items()}
                connection.execute(_KEEP_STATE, named)
            if put:
                connection.execute(_PUT_DELIVERY, [encode(each) for each in put])
            for each in drop:
                connection.execute(_DROP_DELIVERY, {"of_sink": each.sink, "place": each.position})

        await self._write(work)

    async def deliveries(self, sink: str, *, dead: bool, after: int, limit: int) -> list[Delivery]:
        """Read waiting deliveries or dead letters."""
        rows = await self._read(_QUEUE[dead], of_sink=sink, after=after, limit=limit)
        return [decode(Delivery, row) for row in rows]

    async def counts(self) -> dict[str, tuple[int, int]]:
        """Count waiting deliveries and dead letters."""
        rows = await self._read(_COUNTS)
        return {str(row["sink"]): (int(row["waiting"]), int(row["dead"])) for row in rows}

    async def oldest_after(self, position: int) -> int:
        """Give the time of the oldest event behind a position."""
        rows = await self._read(_AFTER, after=position, limit=1)
        return int(rows[0]["time"]) if rows else 0

    async def fire(self, rule: str, subject: str, position: int, now: int, most: int) -> bool:
        """Note that a rule acts."""

        def work(connection: Connection) -> bool:
            about = {"of_rule": rule, "about": subject, "place": position, "since": now - HOUR_MS}
            if int(connection.execute(_FIRED, about).scalar_one()) >= most:
                return False
            row = {"rule": rule, "position": position, "subject": subject, "time": now}
            connection.execute(_FIRE, row)
            return True

        return await self._write(work)

    async def purge(self, *, events_before: int, dead_before: int, limit: int) -> int:
        """Forget what is old; never an event that a sink in use, or the rules, have not taken up."""

        def work(connection: Connection) -> int:
            connection.execute(_OLD_LETTERS, {"before": dead_before})
            connection.execute(_OLD_FIRINGS, {"before": events_before - HOUR_MS})
            least = connection.execute(_LEAST, {"names": list(self._consumers)}).scalar()
            upto = 0 if least is None else int(least)
            bounds = {"upto": upto, "before": events_before, "limit": limit}
            return connection.execute(_OLD_EVENTS, bounds).rowcount

        return await self._write(work)

    async def findings(self, *, after: tuple[str, str], limit: int) -> list[Finding]:
        """Read findings."""
        rows = await self._read(_FINDINGS, about=after[0], kind=after[1], limit=limit)
        return [decode(Finding, row) for row in rows]

    async def _read(self, statement: Executable, **parameters: Any) -> list[Row]:  # noqa: ANN401 - SQL values
        def work(connection: Connection) -> list[Row]:
            return [dict(row) for row in connection.execute(statement, parameters).mappings()]

        return await self._database.read(work)

    async def _write(self, work: Callable[[Connection], T]) -> T:
        async with self._database.writing() as turn:
            return await turn.run(work)


def _event(row: Row) -> tuple[Event, bytes]:
    event, mac = decode(Event, row), row["mac"]
    if type(mac) is not bytes:
        raise damaged(f"event {event.position} is damaged")
    return event, mac
