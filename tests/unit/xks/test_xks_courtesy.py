"""A store that asks for more than its limit lets other stores' calls go first."""

import asyncio
import time
from contextlib import suppress

import pytest
from tests.xksdoor import (
    ENCRYPT,
    PREFIX,
    FakeProxy,
    Notes,
    Served,
    call,
    make_door,
    on_uvloop,
    raw,
    served,
    until,
    uri,
)

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.frontends.xks import courtesy as module
from strongroomd.frontends.xks import routes
from strongroomd.frontends.xks.courtesy import REMEMBERED, Courtesy
from strongroomd.frontends.xks.door import Door

WHOLE = call("encrypt", ENCRYPT)
UNSIGNED = raw(uri("encrypt"), b"{}", {"Host": "xks.example.com"})


@pytest.fixture(autouse=True)
def signed_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module was loaded when the run began: a signature is good for five minutes."""
    monkeypatch.setitem(globals(), "WHOLE", call("encrypt", ENCRYPT))


class Room:
    """What is under way, and in which order calls went."""

    def __init__(self) -> None:
        self.busy = 0
        self.courtesy = Courtesy(lambda: self.busy > 0)
        self.order: list[str] = []

    async def pass_through(
        self, name: str, *, until: asyncio.Event | None = None, signs: bool = True
    ) -> None:
        async with self.courtesy.last("/a", signs=signs):
            self.order.append(name)
            if until is not None:
                await until.wait()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 60.0)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


# --- by itself


def test_only_a_store_that_was_refused_for_its_limit_lets_others_go_first() -> None:
    courtesy = Courtesy(lambda: True)

    courtesy.refused("/a")

    assert [courtesy.is_due("/a"), courtesy.is_due("/b")] == [True, False]


def test_after_a_while_without_a_refusal_it_is_as_good_as_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    courtesy = Courtesy(lambda: True)
    courtesy.refused("/a")

    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + REMEMBERED + 0.1)

    assert not courtesy.is_due("/a")


async def test_where_nobody_else_is_it_goes_at_once(patient: None) -> None:
    room = Room()

    await room.pass_through("first")

    assert room.order == ["first"]


async def test_it_goes_when_the_last_of_the_others_is_done(patient: None) -> None:
    room = Room()
    room.busy = 2
    task = asyncio.create_task(room.pass_through("loud"))
    await turns()

    room.busy = 1
    room.courtesy.idle()
    await turns()
    assert room.order == []
    room.busy = 0
    room.courtesy.idle()
    await task
    assert room.order == ["loud"]


async def test_one_goes_after_the_other_in_the_order_of_their_coming(patient: None) -> None:
    room, first_ends = Room(), asyncio.Event()
    tasks = [asyncio.create_task(room.pass_through("first", until=first_ends))]
    await turns()
    tasks += [asyncio.create_task(room.pass_through(name)) for name in ("second", "third")]
    await turns()
    assert room.order == ["first"]

    first_ends.set()
    await asyncio.gather(*tasks)

    assert room.order == ["first", "second", "third"]


async def test_where_there_is_no_end_of_the_others_it_goes_nevertheless() -> None:
    room = Room()
    room.busy = 1

    await asyncio.gather(*(room.pass_through(str(number)) for number in range(10)))

    assert len(room.order) == 10
    assert not room.courtesy._waiting


async def test_those_that_waited_long_enough_do_not_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "APART", 60.0)
    room = Room()
    room.busy = 1

    tasks = [asyncio.create_task(room.pass_through(name)) for name in ("first", "second")]
    await tasks[0]
    await turns()

    assert room.order == ["first"]
    room.busy = 0
    room.courtesy.idle()
    await tasks[1]


async def test_who_comes_when_nobody_waits_any_more_is_not_forgotten() -> None:
    room = Room()
    room.busy = 1
    await room.pass_through("first")
    await asyncio.sleep(2 * module.APART)

    await asyncio.wait_for(room.pass_through("second"), 10)

    assert room.order == ["first", "second"]


async def test_where_many_wait_already_the_next_one_goes_at_once(patient: None) -> None:
    room = Room()
    room.busy = 1
    tasks = [asyncio.create_task(room.pass_through("waits")) for _ in range(module.MOST)]
    await turns()
    assert room.order == []

    await asyncio.wait_for(room.pass_through("goes"), 10)

    assert room.order == ["goes"]
    room.busy = 0
    room.courtesy.idle()
    await asyncio.gather(*tasks)


async def test_one_that_is_gone_holds_up_nobody(patient: None) -> None:
    room = Room()
    room.busy = 1
    gone = asyncio.create_task(room.pass_through("gone"))
    there = asyncio.create_task(room.pass_through("there"))
    await turns()

    gone.cancel()
    with suppress(asyncio.CancelledError):
        await gone
    assert room.courtesy.ahead("/a") == 1
    room.busy = 0
    room.courtesy.idle()
    await there
    assert room.order == ["there"]


@pytest.mark.parametrize(("signs", "ahead"), [(True, 3), (False, 0)])
async def test_only_who_signed_for_the_store_counts_for_those_behind(
    patient: None, signs: bool, ahead: int
) -> None:
    room = Room()
    room.busy = 1
    tasks = [asyncio.create_task(room.pass_through("x", signs=signs)) for _ in range(3)]
    await turns()

    assert room.courtesy.ahead("/a") == ahead
    assert [room.courtesy.ahead(other) for other in ("/b", "")] == [0, 0]
    room.busy = 0
    room.courtesy.idle()
    await asyncio.gather(*tasks)
    assert room.courtesy.ahead("/a") == 0


async def test_nothing_stays_of_what_waited(patient: None) -> None:
    room = Room()
    room.busy = 1
    tasks = [asyncio.create_task(room.pass_through("x", signs=signs)) for signs in (True, False)]
    await turns()
    room.busy = 0
    room.courtesy.idle()
    await asyncio.gather(*tasks)

    assert not room.courtesy._signers
    assert not room.courtesy._waiting


# --- at the door


async def beyond(door: Served) -> None:
    """Have the store be refused for its limit."""
    door.proxy.left = 0
    assert (await (await door.connect()).ask(WHOLE)).status == 429


@on_uvloop
async def test_calls_that_find_one_unspent_unit_together_are_served_once_and_refused_unseen() -> None:
    async with served() as door:
        peers = [await door.connect() for _ in range(8)]
        door.proxy.left = 8
        assert [(await peer.ask(WHOLE)).status for peer in peers] == [200] * 8  # now they sign for the store
        await beyond(door)
        signatures = len(door.proxy.uses)

        door.proxy.left = 1
        for peer in peers:
            peer.writer.write(WHOLE)
        answers = sorted([(await peer.answer()).status for peer in peers])

        assert answers == [200] + [429] * 7
        assert len(door.proxy.uses) == signatures + 1


@on_uvloop
async def test_strangers_do_not_spend_what_a_store_has_left() -> None:
    async with served() as door:
        known, others = await door.connect(), [await door.connect() for _ in range(8)]
        assert (await known.ask(WHOLE)).status == 200
        await beyond(door)

        door.proxy.left = 1
        for other in others:
            other.writer.write(UNSIGNED)
        known.writer.write(WHOLE)

        assert (await known.answer()).status == 200
        assert {(await other.answer()).status for other in others} <= {401, 429}


@on_uvloop
async def test_a_store_beyond_its_limit_waits_for_the_calls_of_others_only_for_a_moment() -> None:
    async with served() as door:
        busy, loud = await door.connect(), await door.connect()
        door.proxy.hangs = asyncio.Event()
        busy.writer.write(WHOLE)
        await until(lambda: len(door.proxy.calls) == 1)
        await beyond(door)
        assert door.door.courtesy.is_due(PREFIX)

        door.proxy.left = 5
        loud.writer.write(WHOLE)
        await until(lambda: len(door.proxy.calls) == 2)

        door.proxy.hangs.set()
        assert [(await peer.answer()).status for peer in (busy, loud)] == [200, 200]


async def test_a_call_is_shed_where_those_that_wait_will_spend_what_is_left() -> None:
    proxy = FakeProxy(left=1)
    door, route = make_door(proxy, Notes()), routes.find(uri("encrypt"))
    door.in_flight = 1

    async with asyncio.timeout(10):
        waiting = asyncio.create_task(_wait(door))
        await turns()
        assert door.shed(route, time.monotonic()) is not None
        assert door.shed(route, time.monotonic(), waited=True) is None
        door.in_flight = 0
        door.courtesy.idle()
        await waiting
    assert door.shed(route, time.monotonic()) is None


async def _wait(door: Door) -> None:
    async with door.courtesy.last(PREFIX, signs=True):
        pass


async def test_who_waited_inside_is_not_one_too_many_himself() -> None:
    proxy = FakeProxy()
    door, route = make_door(proxy, Notes(), most=1), routes.find(uri("encrypt"))
    door.crowd.enter(PREFIX)

    assert door.shed(route, time.monotonic()) is not None
    assert door.shed(route, time.monotonic(), waited=True) is None


@on_uvloop
async def test_a_call_that_waits_goes_on_when_the_one_under_way_ends() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LONGEST", 60.0)
        async with served() as door:
            busy, loud = await door.connect(), await door.connect()
            door.proxy.hangs = asyncio.Event()
            busy.writer.write(WHOLE)
            await until(lambda: len(door.proxy.calls) == 1)
            await beyond(door)

            door.proxy.left = 5
            loud.writer.write(WHOLE)
            await until(lambda: len(door.door.courtesy._waiting) == 1)
            assert len(door.proxy.calls) == 1
            door.proxy.hangs.set()

            assert [(await peer.answer()).status for peer in (busy, loud)] == [200, 200]


@pytest.mark.parametrize("wrong", ["new", "forged", "unsigned"])
def test_the_call_after_a_wrong_one_and_a_first_call_let_others_go_first(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    @on_uvloop
    async def scene() -> None:
        async with served() as door:
            busy, last = await door.connect(), await door.connect()
            assert [(await peer.ask(WHOLE)).status for peer in (busy, last)] == [200, 200]
            if wrong == "new":
                last = await door.connect()
            elif wrong == "forged":
                door.proxy.fails = StrongroomError(Reason.INVALID_CIPHERTEXT)
                assert (await last.ask(WHOLE)).status == 400
                door.proxy.fails = None
            else:
                assert (await last.ask(UNSIGNED)).status == 401
            served_before = len(door.proxy.calls)
            door.proxy.hangs = asyncio.Event()
            busy.writer.write(WHOLE)
            await until(lambda: len(door.proxy.calls) == served_before + 1)

            last.writer.write(WHOLE)
            await until(lambda: len(door.door.courtesy._waiting) == 1)
            door.proxy.hangs.set()

            assert [(await peer.answer()).status for peer in (busy, last)] == [200, 200]
            door.proxy.hangs = asyncio.Event()
            for peer in (busy, last):
                peer.writer.write(WHOLE)
            await until(lambda: len(door.proxy.calls) == served_before + 4)  # now it is as good as any other
            door.proxy.hangs.set()
            assert [(await peer.answer()).status for peer in (busy, last)] == [200, 200]

    monkeypatch.setattr(module, "LONGEST", 60.0)
    scene()


@on_uvloop
async def test_a_call_that_came_too_often_was_not_wrong() -> None:
    async with served() as door:
        peer = await door.connect()
        assert (await peer.ask(WHOLE)).status == 200
        (connection,) = door.server._known
        door.proxy.left = 0
        assert (await peer.ask(WHOLE)).status == 429

        assert connection.was_right


@on_uvloop
async def test_who_signs_no_more_counts_for_nobody_behind() -> None:
    async with served() as door:
        former = await door.connect()
        assert (await former.ask(WHOLE)).status == 200
        (connection,) = door.server._known
        assert connection.signs_for == PREFIX

        door.proxy.signers.clear()

        assert (await former.ask(WHOLE)).status == 401
        assert connection.signs_for is None


async def test_a_call_that_is_refused_for_those_ahead_does_not_put_its_store_beyond_its_limit() -> None:
    door, route = make_door(FakeProxy(left=1), Notes()), routes.find(uri("encrypt"))
    door.courtesy._signers[PREFIX] = 1

    assert door.shed(route, time.monotonic()) is not None
    assert not door.courtesy.is_due(PREFIX)


@on_uvloop
async def test_what_a_stranger_sends_waits_and_counts_for_nothing() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LONGEST", 60.0)
        async with served() as door:
            busy, stranger = await door.connect(), await door.connect()
            door.proxy.hangs = asyncio.Event()
            busy.writer.write(WHOLE)
            await until(lambda: len(door.proxy.calls) == 1)
            await beyond(door)

            door.proxy.left = 5
            stranger.writer.write(UNSIGNED)
            await until(lambda: len(door.door.courtesy._waiting) == 1)

            assert door.door.courtesy.ahead(PREFIX) == 0
            door.proxy.hangs.set()
            assert [(await peer.answer()).status for peer in (busy, stranger)] == [200, 401]


@on_uvloop
async def test_who_never_signed_signs_for_no_store_not_even_for_one_without_a_prefix() -> None:
    async with served() as door:
        stranger = await door.connect()
        assert (await stranger.ask(UNSIGNED)).status == 401
        (connection,) = door.server._strangers

        assert connection.signs_for is None
