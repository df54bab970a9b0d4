"""Who writes events: numbers them, MACs them and puts them into the transaction of the change itself.

A change and its events are durable together or not at all. The MAC lets whoever reads the outbox tell the
daemon's own events from what somebody wrote into the database; that none was taken away, only the audit log
can show.
"""

import uuid
from collections.abc import Sequence
from typing import Protocol

import orjson

from strongroomd.custody.clock import Clock
from strongroomd.domain.events import BY_DAEMON, Cause, Draft, Event
from strongroomd.domain.names import Realm
from strongroomd.ports import RowMacs, Store, Transaction


class EventMeter(Protocol):
    """Counts events, for metrics."""

    def emitted(self, type_: str) -> None:
        """Count one event that is durable."""
        ...

    def delivered(self, sink: str) -> None:
        """Count one delivery."""
        ...

    def undelivered(self, sink: str, blame: str) -> None:
        """Count one failed try."""
        ...

    def dead_lettered(self, sink: str) -> None:
        """Count one event that was given up."""
        ...

    def fired(self, rule: str, outcome: str) -> None:
        """Count what became of a rule's action."""
        ...

    def backlog(self, sink: str, waiting: int, oldest_seconds: float, dead: int) -> None:
        """Note what a sink has not got yet."""
        ...

    def found(self, check: str, keys: int) -> None:
        """Note how many keys a compliance check speaks of."""
        ...


class Scribe:
    """Writes events.

    Args:
        vault: makes the MACs.
        realm: spells ARNs.
        clock: when it happened.
        meter: counts.
    """

    def __init__(self, vault: RowMacs, realm: Realm, clock: Clock, meter: EventMeter) -> None:
        self.realm = realm
        self._vault = vault
        self._clock = clock
        self._meter = meter

    async def write(
        self, transaction: Transaction, drafts: Sequence[Draft], cause: Cause = BY_DAEMON
    ) -> list[Event]:
        """Put what happened into a transaction, in order."""
        written = []
        for draft in drafts:
            position, sequence = await transaction.number_event(draft.subject)
            event = Event(
                position=position,
                id=str(uuid.uuid4()),
                type=draft.type.value,
                subject=draft.subject,
                sequence=sequence,
                time=self._clock.wall_ms(),
                principal=cause.principal,
                request_id=cause.request_id,
                data=orjson.dumps(dict(draft.data), option=orjson.OPT_SORT_KEYS).decode(),
            )
            await transaction.put_event(event, await self._vault.record_mac(event.signed_form()))
            written.append(event)
        return written

    def committed(self, events: Sequence[Event]) -> None:
        """Count events whose transaction is durable."""
        for event in events:
            self._meter.emitted(event.type)

    async def is_ours(self, event: Event, mac: bytes) -> bool:
        """Say whether the daemon wrote an event as it is."""
        return await self._vault.record_mac_matches(event.signed_form(), mac)

    async def announce(
        self, store: Store, drafts: Sequence[Draft], cause: Cause = BY_DAEMON, *, quiet_ms: int = 0
    ) -> list[Event]:
        """Write events that belong to no change, in a transaction of their own.

        Args:
            store: where to.
            drafts: what happened.
            cause: who caused it.
            quiet_ms: leave out what any worker said of the same subject within this time.
        """
        async with store.transaction() as transaction:
            since = self._clock.wall_ms() - quiet_ms
            wanted = [
                draft
                for draft in drafts
                if not quiet_ms or not await transaction.event_since(draft.type, draft.subject, since)
            ]
            written = await self.write(transaction, wanted, cause)
        self.committed(written)
        return written
