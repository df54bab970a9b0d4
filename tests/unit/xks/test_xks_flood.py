"""A flood at the XKS door: what is read early, who rests, and what becomes of goodput, on a simulated loop."""

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.xksdoor import (
    ENCRYPT,
    HEALTH,
    PREFIX,
    FakeProxy,
    Notes,
    Served,
    call,
    make_door,
    on_uvloop,
    served,
)

from strongroomd.frontends.xks import arrivals, early, routes
from strongroomd.frontends.xks.crowd import FEWEST, LEAST, REMEMBERED, TARGET, Crowd
from strongroomd.frontends.xks.restraint import FIRST_SECONDS, FORGIVEN_SECONDS, GROWTH, RELIEF, Restraint
from strongroomd.frontends.xks.rests import A_SECOND, LONG, SHORT
from strongroomd.frontends.xks.server import Server
from strongroomd.telemetry.lag import STEP, Lag

WHOLE = call("encrypt", ENCRYPT)
PATH = f"{PREFIX}/kms/xks/v1/keys/key-1/encrypt"


@pytest.fixture(autouse=True)
def signed_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module was loaded when the run began: a signature is good for five minutes."""
    monkeypatch.setitem(globals(), "WHOLE", call("encrypt", ENCRYPT))


# --- what is read early


def test_request_of_kms_is_read_without_a_parser() -> None:
    assert early.path_of(WHOLE) == PATH


@given(st.integers(0, len(WHOLE) - 1))
def test_part_of_a_request_goes_the_long_way(size: int) -> None:
    assert early.path_of(WHOLE[:size]) is None
    assert early.path_of(WHOLE[size + 1 :]) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"POST ", b"GET "),
        (b"POST ", b"post "),
        (b" HTTP/1.1\r\n", b" HTTP/1.0\r\n"),
        (b" HTTP/1.1\r\n", b" HTTP/1.1\n"),
        (b"POST /", b"POST http://h/"),
        (b"POST /", b"\r\nPOST /"),
        (b"Host: ", b"Hosts: "),
        (b"Host: ", b"Host : "),
        (b"Host: ", b"Host: a\r\nHOST: "),
        (b"Host: ", b"X: a\r\n b\r\nHost: "),
        (b"Host: ", b"X: a\nHost: "),
        (b"Host: ", b"X: \0\r\nHost: "),
        (b"Host: ", b"X: \xff\r\nHost: "),
        (b"Host: ", b"Transfer-Encoding: chunked\r\nHost: "),
        (b"Host: ", b"Expect: 100-continue\r\nHost: "),
        (b"Host: ", b"Connection: close\r\nHost: "),
        (b"Host: ", b"Upgrade: h2c\r\nHost: "),
        (b"Host: ", b"Trailer: x\r\nHost: "),
        (b"Content-Length: ", b"Content-Length: +"),
        (b"Content-Length: ", b"Content-Length: 0, "),
        (b"Content-Length: ", b"Content-Length: 1"),
        (b"Content-Length: ", b"Content-Length: 1\r\nContent-Length: "),
        (b"Content-Length: ", b"X-Length: "),
        (b"}", b"}}"),
    ],
)
def test_what_could_be_read_in_two_ways_goes_the_long_way(old: bytes, new: bytes) -> None:
    changed = WHOLE.replace(old, new, 1)

    assert changed != WHOLE
    assert early.path_of(changed) is None


def test_two_requests_at_once_go_the_long_way() -> None:
    assert early.path_of(WHOLE + WHOLE) is None


def test_request_larger_than_any_legal_one_goes_the_long_way() -> None:
    body = b"{" + b" " * early.MAX_SIZE + b"}"
    head = f"POST {PATH} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n".encode()

    assert early.path_of(head + body) is None


# --- who rests


def test_each_refusal_in_a_row_makes_the_rest_longer_up_to_a_limit() -> None:
    restraint = Restraint()

    rests = [restraint.begin(0.0, 1.6) for _ in range(4)]

    assert rests == [FIRST_SECONDS, GROWTH * FIRST_SECONDS, 1.6, 1.6]


def test_served_call_makes_the_next_rest_a_little_shorter_and_never_less_than_a_first_one() -> None:
    restraint = Restraint()
    restraint.begin(0.0, 1.6)

    restraint.lift()

    assert restraint.begin(0.0, 1.6) == GROWTH * FIRST_SECONDS * RELIEF
    for _ in range(30):
        restraint.lift()
    assert restraint.begin(0.0, 1.6) == FIRST_SECONDS


def test_who_was_not_refused_for_long_is_refused_for_the_first_time() -> None:
    restraint = Restraint()
    for _ in range(4):
        restraint.begin(7.0, 0.1)

    assert restraint.begin(7.0 + FORGIVEN_SECONDS, 0.1) > FIRST_SECONDS
    assert restraint.begin(7.2 + 2 * FORGIVEN_SECONDS, 0.1) == FIRST_SECONDS


def test_where_rests_may_be_long_only_the_first_one_lets_what_waits_be_answered_in_time() -> None:
    restraint = Restraint()

    assert [restraint.begin(0.0, LONG) for _ in range(4)] == [0.05, 0.8, LONG, LONG]


def test_what_came_during_a_rest_counts_from_its_beginning() -> None:
    restraint = Restraint()
    restraint.begin(7.0, 1.6)

    restraint.end()

    assert restraint.since == 7.0
    assert restraint.begin(7.02, 1.6) == GROWTH * FIRST_SECONDS


def test_refusing_what_a_long_rest_made_late_is_not_held_against_the_connection() -> None:
    restraint = Restraint()
    restraint.begin(7.0, LONG)
    long = restraint.begin(7.1, LONG)
    restraint.end()

    assert restraint.begin(7.1 + long, LONG) == FIRST_SECONDS
    assert restraint.begin(9.0, LONG) == min(LONG, GROWTH * long)


def test_refusing_what_a_late_loop_made_late_is_held_against_it() -> None:
    restraint = Restraint()
    first = restraint.begin(7.0, LONG)
    restraint.end()

    assert restraint.begin(8.0, LONG) == GROWTH * first


def test_what_comes_later_counts_from_its_own_time() -> None:
    restraint = Restraint()
    restraint.begin(7.0, 1.0)
    restraint.end()

    restraint.forget()

    assert restraint.since == 0.0


# --- how many may be inside


def looked(lag: Lag, late: float) -> None:
    lag.last, lag.due = late, (0.0 if lag.due == float("inf") else lag.due) + STEP


def entered(crowd: Crowd, count: int, store: str = "/a") -> None:
    for _ in range(count):
        crowd.enter(store)


def filled(crowd: Crowd, store: str) -> None:
    """Take in as many of a store as the door would."""
    while not crowd.is_full(store):
        crowd.enter(store)


def test_loop_in_time_takes_in_what_is_configured() -> None:
    crowd = Crowd(Lag(), 100)
    entered(crowd, 50, "/a")
    entered(crowd, 49, "/b")

    assert not crowd.is_full("/c")
    crowd.enter("/c")
    assert crowd.is_full("/c")


def test_late_loop_takes_in_what_would_have_made_it_less_late() -> None:
    lag = Lag()
    crowd = Crowd(lag, 400)
    entered(crowd, 320)

    looked(lag, 2 * TARGET)

    assert crowd.is_full("/b")
    assert crowd.limit == 160


def test_where_few_are_inside_it_is_not_they_who_make_the_loop_late() -> None:
    lag = Lag()
    crowd = Crowd(lag, 400)
    entered(crowd, LEAST // 2)

    looked(lag, 10.0)

    assert not crowd.is_full("/b")
    assert (crowd.limit, crowd.is_cut) == (400, False)
    crowd.enter("/b")
    looked(lag, 2 * TARGET)
    assert not crowd.is_full("/b")
    assert (crowd.limit, crowd.is_cut) == (LEAST, True)


def test_one_look_cuts_once() -> None:
    lag = Lag()
    crowd = Crowd(lag, 1_000)
    entered(crowd, 800)

    looked(lag, 2 * TARGET)
    limits = []
    for _ in range(5):
        crowd.is_full("/b")
        limits.append(crowd.limit)

    assert limits == [400] * 5


@pytest.mark.parametrize(("late", "least"), [(4 * TARGET, LEAST), (10.0, FEWEST)])
def test_only_a_loop_that_stays_far_too_late_takes_in_but_a_few(late: float, least: int) -> None:
    lag = Lag()
    crowd = Crowd(lag, 1_000)
    entered(crowd, 100)

    limits = []
    for _ in range(3):
        looked(lag, late)
        crowd.is_full("/b")
        limits.append(crowd.limit)

    assert limits == [LEAST, least, least]


def test_a_cut_lets_no_more_in() -> None:
    lag = Lag()
    crowd = Crowd(lag, 1_000)
    entered(crowd, 100)
    for late in (10.0, 10.0, 2 * TARGET):
        looked(lag, late)
        crowd.is_full("/b")

    assert crowd.limit == FEWEST


@pytest.mark.parametrize(("most", "cut"), [(8, False), (64, True)])
def test_however_few_are_let_in_it_may_be_they_if_they_are_not_very_few(most: int, cut: bool) -> None:
    lag = Lag()
    crowd = Crowd(lag, most)
    filled(crowd, "/a")

    looked(lag, 2 * TARGET)
    crowd.is_full("/a")

    assert (crowd.is_cut, crowd.limit < most) == (cut, cut)


def test_those_who_are_sent_away_can_be_too_many_too() -> None:
    lag = Lag()
    crowd = Crowd(lag, 400)
    crowd.enter("/a")
    for _ in range(LEAST // 2):
        crowd.refused()

    looked(lag, 2 * TARGET)
    crowd.is_full("/a")

    assert (crowd.is_cut, crowd.limit) == (True, 400)


def test_who_was_here_long_ago_is_not_why_the_loop_is_late_now() -> None:
    lag = Lag()
    crowd = Crowd(lag, 400)
    looked(lag, 0.0)
    crowd.is_full("/a")
    entered(crowd, 100)
    for _ in range(100):
        crowd.leave("/a")
    lag.due += 60.0

    looked(lag, 2 * TARGET)
    crowd.is_full("/a")

    assert not crowd.is_cut


def test_limit_comes_back_one_by_one_while_the_loop_is_in_time() -> None:
    lag = Lag()
    crowd = Crowd(lag, 2 * LEAST)
    entered(crowd, 2 * LEAST)
    looked(lag, 4 * TARGET)
    crowd.is_full("/a")

    for _ in range(3):
        looked(lag, 0.0)
        crowd.is_full("/a")
    after_three = crowd.limit
    for _ in range(100):
        looked(lag, 0.0)
        crowd.is_full("/a")

    assert (after_three, crowd.limit) == (LEAST + 3, 2 * LEAST)


def test_all_are_let_in_again_some_time_after_the_last_cut_whoever_called_meanwhile() -> None:
    lag = Lag()
    crowd = Crowd(lag, 2 * LEAST)
    entered(crowd, 2 * LEAST)
    looked(lag, 4 * TARGET)
    crowd.is_full("/a")
    assert crowd.limit == LEAST

    lag.due += REMEMBERED
    looked(lag, 0.0)
    crowd.is_full("/a")

    assert (crowd.limit, crowd.is_cut) == (2 * LEAST, False)


@pytest.mark.parametrize(
    ("refused", "late", "by_room", "cut"),
    [(17, 0.011, True, True), (16, 0.011, True, False), (17, 0.009, True, False), (17, 0.011, False, False)],
)
def test_who_refuses_all_the_time_for_want_of_room_need_not_be_far_too_late(
    refused: int, late: float, by_room: bool, cut: bool
) -> None:
    lag = Lag()
    crowd = Crowd(lag, 400)
    looked(lag, 0.0)
    for _ in range(refused):
        crowd.refused(by_room=by_room)

    looked(lag, late)
    crowd.is_full("/a")

    assert (crowd.is_cut, crowd.limit) == (cut, 400)


def test_cut_lasts_while_it_keeps_somebody_out() -> None:
    lag = Lag()
    crowd = Crowd(lag, 2 * LEAST)
    entered(crowd, 2 * LEAST)
    looked(lag, 4 * TARGET)
    assert crowd.is_full("/a")

    for _ in range(3):
        lag.due += 0.9 * REMEMBERED
        looked(lag, 0.0)
        assert crowd.is_full("/a")

    assert (crowd.limit, crowd.is_cut) == (LEAST + 3, True)


def test_more_that_may_be_inside_may_be_so_at_once() -> None:
    lag = Lag()
    crowd = Crowd(lag, 10)

    crowd.resize(20)
    looked(lag, TARGET * 0.8)  # neither late nor in time
    crowd.is_full("/a")

    assert (crowd.limit, crowd.is_cut) == (20, False)


def test_a_crowd_that_was_cut_stays_so_whatever_number_may_be_inside() -> None:
    lag = Lag()
    crowd = Crowd(lag, 2 * LEAST)
    entered(crowd, 2 * LEAST)
    looked(lag, 4 * TARGET)
    crowd.is_full("/a")

    crowd.resize(4 * LEAST)

    assert (crowd.limit, crowd.is_cut) == (LEAST, True)


def test_one_store_leaves_the_second_half_to_others() -> None:
    crowd = Crowd(Lag(), 100)
    entered(crowd, 51, "/loud")

    assert crowd.is_full("/loud")
    assert not crowd.is_full("/quiet")


def test_whoever_leaves_makes_room() -> None:
    crowd = Crowd(Lag(), 1)
    crowd.enter("/a")
    full = crowd.is_full("/b")

    crowd.leave("/a")

    assert full
    assert not crowd.is_full("/b")


# --- a flood on a simulated loop


@dataclass(eq=False)
class Caller:
    """A connection that sends the next request as soon as it has an answer, whatever it was."""

    sent: float | None = 0.0
    store: str = ""
    served_at: float = 0.0
    rests_until: float = 0.0
    restraint: Restraint = field(default_factory=Restraint)


def goodput(
    callers: int, *, serve: float, shed: float, stores: int = 1, seconds: float = 7.0, warm: float = 2.5
) -> float:
    """Give the share of a loop's time that goes to calls answered within KMS's 250 ms.

    One turn of the loop reads every connection that may be read, works on what was taken in, and answers what
    was taken in the turn before.
    """
    lag, now = Lag(), 0.0
    lag.due = STEP
    crowd, everybody = Crowd(lag, 256), [Caller(store=f"/{number % stores}") for number in range(callers)]
    resting: dict[Caller, None] = {}
    inside: list[Caller] = []
    good = 0
    while now < seconds:
        turn = now
        if now >= lag.due:
            lag.last, lag.due = now - lag.due, now + STEP
            for caller in list(resting)[: crowd.spare()]:
                caller.restraint.shorten(turn)
                caller.rests_until = turn
        answered, inside = inside, []
        for caller in everybody:
            if caller.sent is None or caller.sent > turn or caller.rests_until > turn:
                continue
            if caller.rests_until:
                caller.restraint.end()
            resting.pop(caller, None)
            arrived = caller.restraint.since or now
            late = max(lag.last, now - lag.due) > (arrived + 0.2 - now) / 2
            now += shed
            if late or crowd.is_full(caller.store):
                crowd.refused()
                caller.sent = now
                least = sum(each.store == caller.store for each in resting) / A_SECOND
                longest = LONG if crowd.is_cut else SHORT
                if crowd.is_cut:
                    resting[caller] = None
                caller.rests_until = now + caller.restraint.begin(now, longest, least, at_once=False)
                continue
            caller.restraint.lift()
            caller.restraint.forget()
            caller.rests_until = 0.0
            crowd.enter(caller.store)
            caller.served_at, caller.sent = caller.sent, None
            inside.append(caller)
        now += (serve - shed) * len(inside)
        for caller in answered:
            crowd.leave(caller.store)
            good += turn > warm and now - caller.served_at <= 0.25
            caller.sent = now
        now += 0.0 if inside or answered else 0.001
    return good * serve / (now - warm)


@pytest.mark.parametrize("work", [0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize(("serve", "shed"), [(0.0003, 0.00005), (0.0008, 0.00015), (0.0013, 0.00015)])
@pytest.mark.parametrize("stores", [1, 3])
def test_goodput_holds_where_the_processor_is_the_bottleneck(
    work: float, serve: float, shed: float, stores: int
) -> None:
    """`work`: seconds that it would take to serve all connections once."""
    assert goodput(int(work / serve), serve=serve, shed=shed, stores=stores) >= 0.8


@pytest.mark.parametrize("warm", [2.5, 2.5 * REMEMBERED])
def test_goodput_of_a_long_flood_does_not_swing_where_all_are_let_in_again(warm: float) -> None:
    share = goodput(500, serve=0.001, shed=0.0003, seconds=warm + 1.5 * REMEMBERED, warm=warm)

    assert share >= 0.8


# --- on the real server


async def flooded(door: Served) -> None:
    """Have the door know that calls are shed."""
    door.proxy.sheds = True
    peer = await door.connect()
    assert (await peer.ask(WHOLE)).status == 429


@on_uvloop
async def test_shed_call_is_answered_before_anything_is_parsed_and_its_connection_goes_on() -> None:
    async with served() as door:
        await flooded(door)
        peer = await door.connect()
        tasks = len(asyncio.all_tasks())

        peer.writer.write(WHOLE)
        answer = await peer.answer()

        assert (answer.status, answer.error) == (429, "ThrottlingException")
        assert answer.headers["content-type"] == "application/json"
        assert "connection" not in answer.headers
        assert len(asyncio.all_tasks()) <= tasks
        door.proxy.sheds = False
        assert (await peer.ask(WHOLE)).status == 200


@on_uvloop
async def test_connection_of_shed_calls_rests_longer_each_time_but_answers_before_kms_gives_up() -> None:
    async with served() as door:
        await flooded(door)
        peer = await door.connect()
        took = []
        for _ in range(7):
            began = time.monotonic()
            assert (await peer.ask(WHOLE)).status == 429
            took.append(time.monotonic() - began)

        assert took[2] >= FIRST_SECONDS
        assert took[-1] >= 0.05
        door.proxy.sheds = False
        assert (await peer.ask(WHOLE)).status == 200


class Timers:
    """A loop that is asked to call back, and never does; it remembers after how many seconds it should."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def call_later(self, seconds: float, _work: object) -> None:
        self.seconds.append(seconds)


@on_uvloop
async def test_who_were_refused_together_do_not_come_back_together_and_none_too_late_for_kms() -> None:
    async with served() as door:
        await (await door.connect()).ask(call("health", HEALTH))
        (connection,) = door.server._known
        timers, loop = Timers(), connection.loop
        connection.loop = timers  # type: ignore[assignment]
        for _ in range(100):
            connection.rest(SHORT, PREFIX)
        connection.loop = loop
        connection.wake()

        rests = timers.seconds[2:]  # the first two are shorter than the longest one
        assert 0.06 <= min(rests) < 0.08
        assert 0.12 < max(rests) <= 0.14


@on_uvloop
async def test_other_connections_do_not_rest_with_it() -> None:
    async with served() as door:
        await flooded(door)
        loud, quiet = await door.connect(), await door.connect()
        for _ in range(5):
            await loud.ask(WHOLE)

        began = time.monotonic()
        assert (await quiet.ask(call("health", HEALTH))).status == 200

        assert time.monotonic() - began < 0.09


@on_uvloop
async def test_shed_calls_between_pieces_pipelines_and_odd_requests_are_answered_in_order() -> None:
    async with served() as door:
        await flooded(door)
        peer = await door.connect()
        peer.writer.write(WHOLE[:20])
        await asyncio.sleep(0.02)
        peer.writer.write(WHOLE[20:] + call("health", HEALTH) + WHOLE)

        answers = [(await peer.answer()).status for _ in range(3)]

        assert answers == [429, 200, 429]
        assert (await peer.ask(call("health", HEALTH))).status == 200


@on_uvloop
async def test_peer_that_hangs_up_while_it_rests_is_forgotten() -> None:
    async with served() as door:
        await flooded(door)
        peer = await door.connect()
        for _ in range(3):
            await peer.ask(WHOLE)
        peer.close()
        await asyncio.sleep(0.3)

        assert door.server.connections == 1
        assert door.door.crowd.inside == 0


@on_uvloop
async def test_every_request_that_was_counted_in_is_counted_out() -> None:
    async with served(deadline=0.2) as door:
        door.proxy.hangs = asyncio.Event()
        whole, half, gone = [await door.connect() for _ in range(3)]
        whole.writer.write(WHOLE + WHOLE)
        half.writer.write(WHOLE[:-1])
        gone.writer.write(WHOLE)
        await asyncio.sleep(0.05)
        inside = door.door.crowd.inside
        gone.close()
        half.close()
        assert (await whole.answer()).status == 503
        await asyncio.sleep(0.4)

        assert inside == 2  # neither the half one, nor the one behind another
        assert door.door.crowd.inside == 0


@on_uvloop
async def test_more_than_may_be_inside_are_sent_away_by_store_and_at_once() -> None:
    async with served() as door:
        door.door.crowd.resize(4)
        door.proxy.hangs = asyncio.Event()
        peers = [await door.connect() for _ in range(8)]
        for peer in peers:
            peer.writer.write(WHOLE)
        refused = [peer for peer in peers[4:] if (await peer.answer()).status == 429]
        door.proxy.hangs.set()

        assert len(refused) == 4
        assert [(await peer.answer()).status for peer in peers[:2]] == [200, 200]


@on_uvloop
async def test_late_loop_takes_strangers_in_one_by_one_and_any_other_at_once() -> None:
    async with served() as door:
        times = []
        for late in (0.0, 0.02):
            lag = Lag()
            lag.last = late
            door.door.crowd = Crowd(lag, 64)
            began = time.monotonic()
            for _ in range(20):
                peer = await door.connect()
                assert (await peer.ask(b"GET /ping HTTP/1.1\r\nHost: h\r\n\r\n")).status == 200
            times.append(time.monotonic() - began)

        assert times[1] >= 0.18  # the first one was waited for already
        assert times[0] < times[1]


@dataclass
class Rounds:
    """Counts the turns of a loop."""

    count: int = 0

    def turn(self) -> None:
        self.count += 1
        self.next = asyncio.get_running_loop().call_soon(self.turn)


def counted(done: Callable[..., None], rounds: Rounds, counts: list[int]) -> Callable[..., None]:
    """Do something as ever, and note in which turn."""

    def do(*arguments: object) -> None:
        counts.append(rounds.count)
        done(*arguments)

    return do


@on_uvloop
async def test_loop_goes_on_between_newcomers_of_a_full_backlog_and_between_ends_of_the_overdue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounds = Rounds()
    arrived: list[int] = []
    ended: list[int] = []
    for owner, name, counts in ((arrivals.Arrivals, "_welcome", arrived), (Server, "_overdue", ended)):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name), rounds, counts))
    async with served(first_seconds=0) as door:
        sockets = [
            socket.create_connection(("127.0.0.1", door.port)) for _ in range(20)
        ]  # the loop stands still
        rounds.turn()
        while door.server.connections or len(ended) < 20:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)
        rounds.next.cancel()
        for each in sockets:
            each.close()

    assert len(set(arrived)) == len(arrived) == 20
    assert len(set(ended)) == len(ended) == 20


@on_uvloop
async def test_request_that_goes_the_long_way_counts_for_its_store_and_rests_like_any_other() -> None:
    other = WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n", 1)
    async with served() as door:
        door.door.crowd.resize(4)
        door.proxy.hangs = asyncio.Event()
        peers = [await door.connect() for _ in range(4)]
        for peer in peers:
            peer.writer.write(other)
        refused = [peer for peer in peers[3:] if (await peer.answer()).status == 429]
        full = door.door.crowd.is_full(PREFIX), door.door.crowd.is_full("/quiet")
        door.proxy.hangs.set()
        assert [(await peer.answer()).status for peer in peers[:3]] == [200] * 3

        assert (len(refused), full) == (1, (True, False))
        await flooded(door)
        took = []
        for _ in range(6):
            began = time.monotonic()
            assert (await refused[0].ask(other)).status == 429
            took.append(time.monotonic() - began)
        assert took[-1] >= 0.05


def test_a_cut_is_remembered_when_the_loop_is_in_time_again() -> None:
    lag = Lag()
    crowd = Crowd(lag, 64)
    filled(crowd, "/a")
    looked(lag, 10.0)
    crowd.is_full("/a")
    assert crowd.is_cut

    for _ in range(64):  # back to what is configured, one for each look
        looked(lag, 0.0)
        crowd.is_full("/a")
    assert crowd.limit == 64
    assert crowd.is_cut

    lag.due += REMEMBERED
    assert not crowd.is_cut


@pytest.mark.parametrize(("cut", "longest"), [(False, SHORT), (True, LONG)])
def test_only_where_the_processor_is_short_is_a_connection_left_for_long(cut: bool, longest: float) -> None:
    proxy, notes = FakeProxy(), Notes()
    door = make_door(proxy, notes, most=64)
    lag = Lag()
    door.crowd = Crowd(lag, 64)
    filled(door.crowd, PREFIX)
    if cut:
        looked(lag, 10.0)
        assert door.crowd.is_full(PREFIX)

    reply = door.shed(routes.find(PATH), time.monotonic())

    assert reply is not None
    assert (reply.status, reply.rest) == (429, longest)
    assert door.crowd._refused == 1
