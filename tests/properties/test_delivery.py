"""Whatever a sink does and whenever the courier dies: nothing is lost, and each subject's order is kept."""

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.databases import make_database

from strongroomd.custody.clock import Clock
from strongroomd.custody.courier import Courier
from strongroomd.domain.delivery import Blame, Delivery, Patience, Route, SinkState, Undelivered
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.events import Event, Pattern, matches
from strongroomd.storage.database import StoreSettings
from strongroomd.storage.store import SqlStore, open_store

if TYPE_CHECKING:
    from strongroomd.custody.scribe import EventMeter, Scribe
    from strongroomd.ports import Outbox

HOUR = 3_600_000
NEVER = Patience(10_000, 10_000 * HOUR)


class Turned(Clock):
    def __init__(self) -> None:
        self.now = 1_000_000

    def wall_ms(self) -> int:
        return self.now


class Nobody:
    """Counts nothing, and believes every event."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None

    async def is_ours(self, event: Event, mac: bytes) -> bool:
        return mac == b"ours"


@dataclass
class Moody:
    """A sink whose moods come from the test: None takes the event, a Blame refuses it, "die" ends the worker."""

    moods: Iterator[Any]
    taken: list[Event] = field(default_factory=list)
    closed: bool = False

    async def send(self, event: Event) -> None:
        mood = next(self.moods, None)
        if mood == "die after":
            self.taken.append(event)
        if mood in ("die", "die after"):
            raise asyncio.CancelledError
        if mood is not None:
            raise Undelivered(mood, "moody")
        self.taken.append(event)

    async def close(self) -> None:
        self.closed = True


@dataclass
class Fickle:
    """A store's outbox whose writes fail as the test wants: before or after they are made, or cancelled there."""

    outbox: "Outbox"
    moods: Iterator[str | None]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.outbox, name)

    async def settle(
        self, state: SinkState | None, put: Sequence[Delivery] = (), drop: Sequence[Delivery] = ()
    ) -> None:
        mood = next(self.moods, None) or "well"
        if "before" not in mood:
            await self.outbox.settle(state, put, drop)
        if "fails" in mood:
            raise StrongroomError(Reason.STORE_UNAVAILABLE)
        if "cancelled" in mood:
            raise asyncio.CancelledError


async def write(store: SqlStore, subjects: list[str], clock: Turned, mac: bytes = b"ours") -> None:
    for subject in subjects:
        async with store.transaction() as transaction:
            position, sequence = await transaction.number_event(subject)
            event = Event(
                position,
                f"id-{position}",
                "strongroom.key.rotated",
                subject,
                sequence,
                clock.now,
                "p",
                "",
                "{}",
            )
            await transaction.put_event(event, mac)


def courier(
    store: SqlStore,
    clock: Turned,
    sink: Moody,
    patience: Patience = NEVER,
    writes: Iterator[str | None] | None = None,
) -> Courier:
    nobody = Nobody()
    route = Route("s", Pattern(), patience)
    outbox = cast("Outbox", Fickle(store.outbox, writes or iter(())))
    return Courier(
        outbox, cast("Scribe", nobody), clock, cast("EventMeter", nobody), {"s": route}, {"s": sink}
    )


async def run(at_work: Courier) -> None:
    await at_work.round()
    await asyncio.gather(*at_work._tasks.values(), return_exceptions=True)


def firsts(events: list[Event]) -> list[Event]:
    return list({event.id: event for event in reversed(events)}.values())[::-1]


def in_order(events: list[Event]) -> bool:
    seen: dict[str, int] = {}
    for event in firsts(events):
        if event.sequence != seen.get(event.subject, 0) + 1:
            return False
        seen[event.subject] = event.sequence
    return True


MOODS = st.sampled_from([None, None, Blame.SINK, Blame.EVENT, "die", "die after"])
WRITES = st.sampled_from(
    [None, None, None, "fails before", "fails after", "cancelled before", "cancelled after"]
)
SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)


@SETTINGS
@given(
    subjects=st.lists(st.sampled_from("abc"), min_size=1, max_size=12),
    moods=st.lists(MOODS, max_size=30),
    late=st.lists(st.sampled_from("abc"), max_size=4),
    writes=st.lists(WRITES, max_size=10),
)
def test_every_event_arrives_and_each_subjects_in_order(
    subjects: list[str], moods: list[Any], late: list[str], writes: list[str | None]
) -> None:
    async def scenario(folder: str) -> None:
        url = f"sqlite:///{folder}/s.db"
        make_database(url)
        store, clock, sink = open_store(StoreSettings(url)), Turned(), Moody(iter(moods))
        await courier(store, clock, sink).register()
        await write(store, subjects, clock)
        writing = iter(writes)
        for number in range(len(moods) + len(writes) + 3):
            await run(
                courier(store, clock, sink, writes=writing)
            )  # a new worker each time: it knows what the store knows
            clock.now += HOUR + 300_000
            if number == 1:
                await write(store, late, clock)
        ids = {event.id for event in sink.taken}
        state = (await store.outbox.sinks())[0]
        left = await store.outbox.deliveries("s", dead=False, after=0, limit=100)
        await store.close()
        assert len(ids) == len(subjects) + len(late)
        assert in_order(sink.taken)
        assert (state.position, left) == (len(ids), [])

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scenario(folder))


@SETTINGS
@given(
    subjects=st.lists(st.sampled_from("ab"), min_size=1, max_size=8),
    tries=st.integers(1, 3),
    poisoned=st.sets(st.integers(1, 8)),
)
def test_a_poisonous_event_becomes_a_dead_letter_and_the_rest_arrives_in_order(
    subjects: list[str], tries: int, poisoned: set[int]
) -> None:
    class Poisoned(Moody):
        async def send(self, event: Event) -> None:
            if event.position in poisoned:
                raise Undelivered(Blame.EVENT, "poison")
            self.taken.append(event)

    async def scenario(folder: str) -> None:
        url = f"sqlite:///{folder}/s.db"
        make_database(url)
        store, clock, sink = open_store(StoreSettings(url)), Turned(), Poisoned(iter(()))
        patience = Patience(tries, 10_000 * HOUR)
        await courier(store, clock, sink, patience).register()
        await write(store, subjects, clock)
        for _ in range(tries * len(subjects) + 2):
            await run(courier(store, clock, sink, patience))
            clock.now += HOUR + 300_000
        dead = await store.outbox.deliveries("s", dead=True, after=0, limit=100)
        await store.close()
        expected = poisoned & set(range(1, len(subjects) + 1))
        assert {letter.position for letter in dead} == expected
        assert all(letter.tries == tries for letter in dead)
        order = [event.sequence for event in sink.taken if event.subject == "a"]
        assert order == sorted(order)
        assert {e.position for e in sink.taken} == set(range(1, len(subjects) + 1)) - expected

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scenario(folder))


@pytest.mark.parametrize("mood", ["fails before", "fails after", "cancelled before", "cancelled after"])
def test_a_refused_event_that_could_not_be_queued_is_taken_up_again(tmp_path: Path, mood: str) -> None:
    async def scenario() -> None:
        url = f"sqlite:///{tmp_path}/s.db"
        make_database(url)
        store, clock, sink = open_store(StoreSettings(url)), Turned(), Moody(iter([Blame.EVENT]))
        await courier(store, clock, sink).register()
        await write(store, ["a", "a"], clock)
        await run(courier(store, clock, sink, writes=iter([mood])))
        clock.now += HOUR
        await run(courier(store, clock, sink))
        await store.close()
        assert [event.position for event in sink.taken] == [1, 2]

    asyncio.run(scenario())


def test_an_event_that_somebody_else_wrote_is_never_sent(tmp_path: Path) -> None:
    async def scenario() -> None:
        url = f"sqlite:///{tmp_path}/s.db"
        make_database(url)
        store, clock, sink = open_store(StoreSettings(url)), Turned(), Moody(iter(()))
        await courier(store, clock, sink).register()
        await write(store, ["a"], clock, b"forged")
        await write(store, ["a"], clock)
        await run(courier(store, clock, sink))
        dead = await store.outbox.deliveries("s", dead=True, after=0, limit=10)
        await store.close()
        assert [event.position for event in sink.taken] == [2]
        assert [letter.position for letter in dead] == [1]

    asyncio.run(scenario())


def test_events_of_a_sink_that_is_away_too_long_become_dead_letters_and_not_before(tmp_path: Path) -> None:
    async def scenario() -> None:
        url = f"sqlite:///{tmp_path}/s.db"
        make_database(url)
        store, clock = open_store(StoreSettings(url)), Turned()
        sink, patience = Moody(iter([Blame.SINK] * 100)), Patience(1, 10 * HOUR)
        await courier(store, clock, sink, patience).register()
        await write(store, ["a", "b"], clock)
        for _ in range(8):
            await run(courier(store, clock, sink, patience))
            clock.now += HOUR
        assert await store.outbox.deliveries("s", dead=True, after=0, limit=10) == []
        clock.now += 3 * HOUR
        await run(courier(store, clock, sink, patience))
        dead = await store.outbox.deliveries("s", dead=True, after=0, limit=10)
        await store.close()
        assert [letter.position for letter in dead] == [1, 2]

    asyncio.run(scenario())


def test_sinks_that_could_not_be_registered_leave_the_old_ones_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise StrongroomError(Reason.STORE_UNAVAILABLE)

    async def scenario() -> None:
        url = f"sqlite:///{tmp_path}/s.db"
        make_database(url)
        store, clock = open_store(StoreSettings(url)), Turned()
        old, new = Moody(iter(())), Moody(iter(()))
        at_work, others = courier(store, clock, old), {"new": Route("new", Pattern(), NEVER)}
        await at_work.register()
        with monkeypatch.context() as broken:
            broken.setattr(store.outbox, "_write", away)
            with pytest.raises(StrongroomError):
                await at_work.use(others, {"new": new})
        assert not old.closed
        await write(store, ["a"], clock)
        await run(at_work)
        await at_work.use(others, {"new": new})
        assert old.closed
        await write(store, ["a"], clock)
        await run(at_work)
        await store.close()
        assert [[event.position for event in sink.taken] for sink in (old, new)] == [[1], [2]]

    asyncio.run(scenario())


def test_nothing_that_is_still_wanted_is_purged(tmp_path: Path) -> None:
    async def scenario() -> None:
        url = f"sqlite:///{tmp_path}/s.db"
        make_database(url)
        store, clock = open_store(StoreSettings(url)), Turned()
        sink = Moody(iter([None, Blame.EVENT, Blame.SINK]))
        at_work = courier(store, clock, sink)
        await at_work.register()
        await write(store, ["a", "b", "c"], clock)
        await run(at_work)
        clock.now += 1_000 * HOUR

        async def purge(limit: int = 100) -> int:
            return await store.outbox.purge(events_before=clock.now, dead_before=clock.now, limit=limit)

        await store.outbox.settle((await store.outbox.sinks())[0])
        rules = next(s for s in await store.outbox.sinks() if s.name == "@rules")
        assert await purge() == 0, "the rules have seen none of them"
        await store.outbox.settle(type(rules)("@rules", 3))
        assert await purge() == 1
        assert [event.subject for event, _ in await store.outbox.events(0, 10)] == ["b", "c"]
        await run(courier(store, clock, sink))
        assert await purge(1) == 1
        assert await purge(1) == 1
        assert await store.outbox.span() == (0, 3)
        await write(store, ["a"], clock)
        assert (await store.outbox.events(0, 10))[0][0].sequence == 2, "numbers go on after a purge"
        await store.close()

    asyncio.run(scenario())


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_pattern_is_equality_or_a_prefix(pattern: str, text: str) -> None:
    assert matches(pattern.replace("*", ""), text) == (pattern.replace("*", "") == text)
    assert matches(pattern.replace("*", "") + "*", text) == text.startswith(pattern.replace("*", ""))
    assert matches(text.replace("*", "") + "*", text + pattern) or "*" in text


@given(
    st.lists(st.sampled_from(["strongroom.key.*", "strongroom.*", "strongroom.key.rotated", "x"]), max_size=4)
)
def test_more_types_never_pick_less(types: list[str]) -> None:
    event = Event(1, "i", "strongroom.key.rotated", "s", 1, 0, "p", "", "{}")

    picked = Pattern(types=tuple(types)).picks(event)

    assert picked == (not types or any(t != "x" for t in types))
    if types:
        assert Pattern(types=(*types, "strongroom.*")).picks(event)
