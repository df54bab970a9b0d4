"""The courier: takes events from the outbox to the sinks, in order, until they are there or given up.

The worker with the upkeep lease runs one courier; each sink has a task of its own. Deliveries are at least
once: whatever was sent but not yet written down when a worker died is sent again with the same id. The order
of each subject's events is kept at each sink: an event that a sink does not accept holds back those of its
subject only, a sink that fails holds back itself only.
"""

import asyncio
import dataclasses
import random
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from typing import Final

from strongroomd.custody.clock import Clock
from strongroomd.custody.scribe import EventMeter, Scribe
from strongroomd.domain import delivery
from strongroomd.domain.delivery import Blame, Delivery, Route, SinkState, Undelivered, backoff, is_due
from strongroomd.domain.errors import StrongroomError
from strongroomd.domain.events import Event
from strongroomd.ports import Outbox, Sink
from strongroomd.telemetry import logs

_log = logs.get("events")
_BATCH: Final = 50  # deliveries between two notes of the position: what a kill makes again
_BATCHES: Final = 10  # taken up before those that wait are looked at again
_FORGED: Final = "the event's MAC is wrong"
Lanes = OrderedDict[str, deque[Delivery]]


class Courier:
    """Delivers.

    Args:
        outbox: where events are.
        scribe: verifies their MACs.
        clock: when tries are due.
        meter: counts.
        routes: which events go to which sink.
        sinks: the sinks, by name.
    """

    def __init__(
        self,
        outbox: Outbox,
        scribe: Scribe,
        clock: Clock,
        meter: EventMeter,
        routes: Mapping[str, Route],
        sinks: Mapping[str, Sink],
    ) -> None:
        self._outbox = outbox
        self._scribe = scribe
        self._clock = clock
        self._meter = meter
        self.routes = dict(routes)
        self._sinks = dict(sinks)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def register(self) -> None:
        """Have the outbox keep events for the sinks from now on; before any door opens."""
        await self._outbox.register([*self.routes, delivery.RULES])

    async def use(self, routes: Mapping[str, Route], sinks: Mapping[str, Sink]) -> None:
        """Take over other sinks, from a reloaded configuration.

        Raises:
            StrongroomError: STORE_UNAVAILABLE, and the old ones stay.
        """
        await self._outbox.register([*routes, delivery.RULES])
        old, self._sinks, self.routes = self._sinks, dict(sinks), dict(routes)
        await self.stand_down()
        await _let_go(old)

    async def round(self) -> None:
        """Start a delivery to each sink that has none under way; does not wait for them."""
        states = {state.name: state for state in await self._outbox.sinks()}
        for name in self.routes:
            task = self._tasks.get(name)
            if name in states and (task is None or task.done()):
                self._tasks[name] = asyncio.create_task(self._guarded(name, states[name]))

    async def stand_down(self) -> None:
        """End the deliveries under way: another worker is the courier now, or this one ends."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # Not before: no round begins a delivery to a sink while the last one still writes.
        self._tasks = {name: task for name, task in self._tasks.items() if not task.done()}

    async def close(self) -> None:
        """End deliveries and let go of the sinks."""
        await self.stand_down()
        await _let_go(self._sinks)

    async def measure(self) -> None:
        """Note what each sink has not got yet."""
        newest = (await self._outbox.span())[1]
        counts, now = await self._outbox.counts(), self._clock.wall_ms()
        for state in await self._outbox.sinks():
            if state.name not in self.routes:
                if not state.name.startswith("@"):  # one that was configured once: nobody waits for it
                    self._meter.backlog(state.name, 0, 0.0, 0)
                continue
            waiting, dead = counts.get(state.name, (0, 0))
            oldest = await self._oldest(state, waiting)
            age = max(0.0, (now - oldest) / 1000) if oldest else 0.0
            self._meter.backlog(state.name, newest - state.position + waiting, age, dead)

    async def _oldest(self, state: SinkState, waiting: int) -> int:
        """Give the time of the oldest event that a sink has not got; 0 if it has all."""
        if waiting:
            first = await self._outbox.deliveries(state.name, dead=False, after=0, limit=1)
            found = await self._outbox.event(first[0].position) if first else None
            if found is not None:
                return found[0].time
        return await self._outbox.oldest_after(state.position)

    async def _guarded(self, name: str, state: SinkState) -> None:
        try:
            await _Run(self, name, state).go()
        except StrongroomError as error:
            _log.warning("delivery interrupted", sink=name, reason=error.reason.value, detail=error.detail)
        except Exception as error:  # noqa: BLE001 - a sink's mishap must not end the others'
            _log.error("delivery failed", sink=name, exc_info=error)

    async def attempt(self, name: str, event: Event, mac: bytes) -> None:
        """Send one event to one sink. Raises Undelivered."""
        if not await self._scribe.is_ours(event, mac):
            raise Undelivered(Blame.EVENT, _FORGED)
        try:
            await self._sinks[name].send(event)
        except Undelivered as failure:
            self._meter.undelivered(name, failure.blame.value)
            raise
        self._meter.delivered(name)

    def given_up(self, name: str, event: Event, error: str) -> None:
        """Tell of a dead letter."""
        self._meter.dead_lettered(name)
        _log.error("dead letter", sink=name, event_id=event.id, type=event.type, error=error)


class _Stop(Exception):  # noqa: N818 - no error
    """The sink is to be left alone for a while."""


class _Run:
    """One sink's deliveries, until nothing is due or the sink fails."""

    def __init__(self, courier: Courier, name: str, state: SinkState) -> None:
        self._courier = courier
        self._route = courier.routes[name]
        self._name = name
        self._state = state
        self._kept = state
        self._lanes: Lanes = OrderedDict()

    async def go(self) -> None:
        """Deliver what waits and is due, then what is new."""
        if not is_due(self._state.next_try, self._now()):
            return
        waiting = await self._outbox.deliveries(self._name, dead=False, after=0, limit=delivery.MOST_WAITING)
        for each in waiting:
            self._lanes.setdefault(each.subject, deque()).append(each)
        try:
            for lane in list(self._lanes.values()):
                await self._drain(lane)
            if len(waiting) < delivery.MOST_WAITING:
                await self._take_up()
        except _Stop:
            pass
        finally:
            await self._keep()

    @property
    def _outbox(self) -> Outbox:
        return self._courier._outbox  # noqa: SLF001 - one module, one thought

    def _now(self) -> int:
        return self._courier._clock.wall_ms()  # noqa: SLF001

    async def _keep(self) -> None:
        """Write the position down, if it moved."""
        if self._state != self._kept:
            await self._outbox.settle(self._state)
            self._kept = self._state

    async def _drain(self, lane: deque[Delivery]) -> None:
        """Deliver what waits of one subject, oldest first, as long as it goes well."""
        while lane and is_due(lane[0].next_try, self._now()):
            head = lane[0]
            found = await self._outbox.event(head.position)
            if found is None:  # somebody emptied the table
                await self._outbox.settle(None, drop=[head])
                lane.popleft()
                continue
            left = await self._try(head, *found)
            if left is None:
                await self._settle(self._state, drop=[head])
            else:
                await self._settle(self._state, put=[left])
                if not left.dead_at:
                    return
            lane.popleft()

    async def _take_up(self) -> None:
        """Take up new events, batch by batch, but not for ever: what waits has its turn as well."""
        for _ in range(_BATCHES):
            batch = await self._outbox.events(self._state.position, _BATCH)
            if not batch:
                return
            for event, mac in batch:
                if self._route.picks(event):
                    await self._deliver_new(event, mac)
                self._state = dataclasses.replace(self._state, position=event.position)
            await self._keep()

    async def _deliver_new(self, event: Event, mac: bytes) -> None:
        fresh = Delivery(self._name, event.position, event.subject)
        lane = self._lanes.get(event.subject)
        left: Delivery | None = fresh  # behind what waits of its subject
        if not lane:
            left = await self._try(fresh, event, mac)
        if left is None:
            return
        # In one write, or neither: a position behind an event that nobody queued would lose the event.
        await self._settle(dataclasses.replace(self._state, position=event.position), put=[left])
        if not left.dead_at:
            self._lanes.setdefault(event.subject, deque()).append(left)
        if sum(map(len, self._lanes.values())) >= delivery.MOST_WAITING:
            raise _Stop

    async def _try(self, head: Delivery, event: Event, mac: bytes) -> Delivery | None:
        """Send an event; gives None for delivered, else the delivery as it waits or is dead now.

        Raises:
            _Stop: the sink failed, and nothing is known against the event.
        """
        try:
            await self._courier.attempt(self._name, event, mac)
        except Undelivered as failure:
            return self._failed(head, event, failure)
        self._state = self._state.succeeded(self._now())
        return None

    def _failed(self, head: Delivery, event: Event, failure: Undelivered) -> Delivery:
        now = self._now()
        if failure.blame is Blame.SINK:
            if self._route.patience.is_over(0, event.time, now):
                self._state = self._state.failed(now, failure.error)
                return self._dead(head, event, failure.error, now)
            seconds = backoff(self._state.tries + 1, _chance(), failure.retry_after)
            self._state = self._state.pausing(now, failure.error, seconds)
            raise _Stop
        tries = head.tries + 1
        self._state = self._state.failed(now, failure.error)
        head = dataclasses.replace(head, tries=tries, error=failure.error)
        if failure.error == _FORGED or self._route.patience.is_over(tries, event.time, now):
            return self._dead(head, event, failure.error, now)
        wait = backoff(tries, _chance(), failure.retry_after)
        return dataclasses.replace(head, next_try=now + int(wait * 1000))

    def _dead(self, head: Delivery, event: Event, error: str, now: int) -> Delivery:
        self._courier.given_up(self._name, event, error)
        return dataclasses.replace(head, dead_at=now, error=error)

    async def _settle(
        self, state: SinkState, put: Sequence[Delivery] = (), drop: Sequence[Delivery] = ()
    ) -> None:
        """Write down what became of deliveries; the state is the sink's once that is done."""
        await self._outbox.settle(state, put, drop)
        self._state = self._kept = state


async def _let_go(sinks: Mapping[str, Sink]) -> None:
    await asyncio.gather(*(sink.close() for sink in sinks.values()), return_exceptions=True)


def _chance() -> float:
    return random.random()  # noqa: S311 - jitter
