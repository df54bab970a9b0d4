"""Connections at a long rest: how long they have to rest, and who is read again when there is room."""

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.xksdoor import ENCRYPT, PREFIX, Peer, Served, call, on_uvloop, served

from strongroomd.frontends.xks.crowd import LEAST, TARGET, Crowd
from strongroomd.frontends.xks.restraint import FIRST_SECONDS, FORGIVEN_SECONDS, GROWTH, Restraint
from strongroomd.frontends.xks.rests import A_SECOND, LONG, SHORT, Rests
from strongroomd.telemetry.lag import STEP, Lag

HERE, THERE, STRANGERS = ("/a", True), ("/b", True), ("/a", False)


class Resting:
    """A connection that rests, and hears that it may come back."""

    def __init__(self, rests: Rests) -> None:
        self.woken = False
        self._rests = rests

    def wake(self) -> None:
        self.woken = True
        self._rests.end(self)


def crowd_of(inside: int, *, late: float = 0.0) -> Crowd:
    """Make a crowd with so many inside whose loop is so late."""
    crowd = Crowd(lag := Lag(), 256)
    lag.last = late
    for _ in range(inside):
        crowd.enter("/a")
    return crowd


def begun(rests: Rests, kind: tuple[str, bool], count: int) -> list[Resting]:
    """Have some begin a rest."""
    some = [Resting(rests) for _ in range(count)]
    for each in some:
        rests.begin(each, kind[0], signs=kind[1])
    return some


def least(rests: Rests, kind: tuple[str, bool]) -> float:
    """Give for how long one more should rest at least."""
    return rests.begin(Resting(rests), kind[0], signs=kind[1])


# --- for how long


async def test_all_who_call_one_store_come_back_a_hundred_a_second_together() -> None:
    rests = Rests(crowd_of(LEAST))

    assert [least(rests, HERE) for _ in range(500)] == [number / A_SECOND for number in range(500)]


@pytest.mark.parametrize("kind", [THERE, STRANGERS])
async def test_nobody_rests_longer_for_those_who_call_another_store_or_are_not_known_to_it(
    kind: tuple[str, bool],
) -> None:
    rests = Rests(crowd_of(LEAST))
    begun(rests, kind, 500)

    assert least(rests, HERE) == 0.0


async def test_ended_rest_counts_no_more_and_leaves_nothing() -> None:
    rests = Rests(crowd_of(LEAST))
    some = begun(rests, HERE, 3)

    for each in some:
        rests.end(each)
        rests.end(each)  # a second end is none

    assert some[0] not in rests
    assert not rests._of_kinds
    assert least(rests, HERE) == 0.0


@given(st.floats(0, 2 * LONG))
def test_rest_for_the_sake_of_others_is_never_too_long_and_not_held_against_the_connection(
    others: float,
) -> None:
    restraint = Restraint()

    first = restraint.begin(0.0, LONG, others)
    second = restraint.begin(first, LONG)

    assert first == min(max(0.05, others), LONG)
    assert second == 0.05 * GROWTH


def test_what_waited_through_a_rest_for_others_is_refused_and_the_next_call_is_looked_at_soon() -> None:
    restraint = Restraint()
    restraint.begin(7.0, LONG, 5.0)
    restraint.end()

    assert restraint.begin(12.0, LONG, 5.0) == FIRST_SECONDS


def test_who_is_not_known_rests_for_others_from_the_second_refusal_in_a_row_on() -> None:
    restraint = Restraint()

    rests = [
        restraint.begin(now, LONG, 5.0, at_once=False) for now in (0.0, 0.1, 0.2 + 5.0 + FORGIVEN_SECONDS)
    ]

    assert rests == [0.05, 5.0, 0.05]


def test_rest_that_was_ended_early_excuses_nothing() -> None:
    restraint = Restraint()
    restraint.begin(7.0, LONG, 5.0)
    restraint.shorten(7.1)
    restraint.end()

    assert restraint.begin(7.1, LONG) == 0.05 * GROWTH


@pytest.mark.parametrize("lasted", [0.1, 5.0])
def test_end_in_time_or_late_changes_nothing(lasted: float) -> None:
    restraint = Restraint()
    restraint.begin(7.0, LONG, lasted)
    restraint.shorten(20.0)
    restraint.end()

    assert (restraint.begin(20.0, LONG) == FIRST_SECONDS) == (lasted > 0.15)


async def test_who_begins_again_counts_once() -> None:
    rests = Rests(crowd_of(LEAST))
    (one,) = begun(rests, HERE, 1)

    assert rests.begin(one, "/a", signs=True) == 0.0
    rests.end(one)
    assert not rests._of_kinds


# --- who is read again before the end


async def test_while_there_is_room_those_who_rest_longest_come_back_a_few_at_each_look() -> None:
    rests = Rests(crowd_of(0))
    some = begun(rests, HERE, 40)

    await asyncio.sleep(1.5 * STEP)
    woken = [each.woken for each in some]
    async with asyncio.timeout(10):
        while not all(each.woken for each in some):  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(STEP)

    assert woken == sorted(woken, reverse=True)
    assert 0 < sum(woken) < 40


@pytest.mark.parametrize(
    ("inside", "late"), [(LEAST // 2, 0.0), (LEAST, 0.0), (0, 2 * TARGET)], ids=["half", "all", "late"]
)
async def test_nobody_comes_back_early_where_there_is_work_enough(inside: int, late: float) -> None:
    rests = Rests(crowd_of(inside, late=late))
    some = begun(rests, HERE, 10)

    await asyncio.sleep(5 * STEP)

    assert not any(each.woken for each in some)


async def test_nobody_is_looked_for_while_nobody_rests() -> None:
    rests = Rests(crowd_of(0))
    begun(rests, HERE, 1)
    async with asyncio.timeout(10):
        while rests._timer is not None:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(STEP)

    (late,) = begun(rests, HERE, 1)
    async with asyncio.timeout(10):
        while not late.woken:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(STEP)


def test_room_is_what_was_free_through_a_whole_look() -> None:
    lag = Lag()
    crowd = Crowd(lag, 256)
    lag.due = time.monotonic() + 1.0  # which is not over yet
    crowd.spare()
    for _ in range(LEAST):
        crowd.enter("/a")
    for _ in range(LEAST):
        crowd.leave("/a")

    found = []
    for _ in range(3):
        found.append(crowd.spare())
        lag.due += STEP

    assert found[:2] == [0, 0]
    assert found[2] > 0


# --- on the real server

WHOLE = call("encrypt", ENCRYPT)
BUSY = 32


@pytest.fixture(autouse=True)
def signed_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signature is good for five minutes, and a run lasts longer."""
    monkeypatch.setitem(globals(), "WHOLE", call("encrypt", ENCRYPT))


def fill(door: Served) -> None:
    """Have the worker know that its processor is short, and have it full of others' calls."""
    crowd = door.door.crowd
    crowd.limit = float(BUSY)
    for _ in range(BUSY):
        crowd.enter("/others")


def empty(door: Served) -> None:
    """Have the others be gone for a while."""
    crowd: Any = door.door.crowd
    for _ in range(BUSY):
        crowd.leave("/others")
    crowd._peak = crowd._peak_before = 0


async def at_rest(door: Served, pieces: int = 1) -> Peer:
    """Connect, and be refused until the next answer is a long way off; the last request comes in pieces."""
    peer = await door.connect()
    for _ in range(3):
        assert (await peer.ask(WHOLE)).status == 429
    if pieces > 1:
        await asyncio.sleep(0.05)  # the rest that is excused
        peer.writer.write(WHOLE[:-1])
        await asyncio.sleep(0.02)
    assert (await peer.ask(WHOLE[-1:] if pieces > 1 else WHOLE)).status == 429
    return peer


@on_uvloop
async def test_connection_at_a_long_rest_is_read_as_soon_as_there_is_room() -> None:
    async with served() as door:
        fill(door)
        peer = await at_rest(door)
        peer.writer.write(WHOLE)
        answer = asyncio.create_task(peer.answer())
        await asyncio.sleep(1.0)
        waited = not answer.done()
        empty(door)

        async with asyncio.timeout(2.0):
            assert (await answer).status == 200

        assert waited
        (connection,) = door.server._known
        assert connection not in door.server.rests


@pytest.mark.parametrize("pieces", [1, 2])
@on_uvloop
async def test_stranger_who_is_not_read_is_not_silent_and_has_his_time_afterwards(pieces: int) -> None:
    async with served(first_seconds=1) as door:
        fill(door)
        peer = await at_rest(door, pieces)
        await asyncio.sleep(2.0)
        assert door.server.connections == 1
        empty(door)
        (connection,) = door.server._strangers
        while connection in door.server.rests:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(STEP)
        await asyncio.sleep(0.6)

        assert (await peer.ask(WHOLE)).status == 200


@on_uvloop
async def test_refusal_for_a_limit_is_no_reason_for_a_long_rest_even_where_the_processor_is_short() -> None:
    async with served() as door:
        door.door.crowd.limit = float(BUSY)
        door.proxy.sheds = True
        peer = await door.connect()
        for _ in range(2):
            assert (await peer.ask(WHOLE)).status == 429
        (connection,) = door.server._strangers

        assert connection not in door.server.rests


@pytest.mark.parametrize("end", ["abort", "drain"])
@on_uvloop
async def test_connection_that_ends_at_rest_is_forgotten_with_its_alarm(end: str) -> None:
    async with served() as door:
        fill(door)
        await at_rest(door)
        (connection,) = door.server._strangers
        assert connection in door.server.rests
        began = time.monotonic()
        if end == "abort":
            connection.abort()
            await asyncio.sleep(0.05)
        else:
            await door.server.drain(3.0)
        took = time.monotonic() - began

        assert connection not in door.server.rests
        assert connection._alarm is None
        assert took < 2.5


@pytest.mark.parametrize(("knows", "refusals"), [(True, 1), (False, 2)])
@on_uvloop
async def test_who_is_refused_while_many_rest_is_to_rest_long_at_once_a_stranger_at_the_second_time(
    knows: bool, refusals: int
) -> None:
    async with served() as door:
        fill(door)
        begun(door.server.rests, (PREFIX, knows), 300)
        peer = await door.connect()
        if knows:
            empty(door)
            assert (await peer.ask(WHOLE)).status == 200
            fill(door)
            begun(door.server.rests, (PREFIX, knows), 300)

        for _ in range(refusals):
            assert (await peer.ask(WHOLE)).status == 429
        peer.writer.write(WHOLE)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await peer.answer()


def test_short_rests_are_those_whose_callers_are_still_answered_in_time() -> None:
    assert SHORT * 1.4 < 0.15
