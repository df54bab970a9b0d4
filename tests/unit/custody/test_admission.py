"""Admission: what cannot be done in time is refused before it costs anything, and the rest waits its turn."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.virtualtime import LoopClock, run

from strongroomd.custody.admission import LAG_SHARE, STANDING, Admission, Lane, Turn
from strongroomd.custody.clock import Clock
from strongroomd.custody.gate import QUICK_CURVES
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.hsm.mechanisms import INLINE_SIGNING


class Turned(Clock):
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Turned:
    return Turned()


@pytest.fixture
def admission(clock: Turned) -> Admission:
    """Of lanes that queue in the vault."""
    return Admission(clock, dict.fromkeys(Lane, 8))


def learn(admission: Admission, clock: Turned, seconds: float, times: int = 100) -> None:
    for _ in range(times):
        admission.enter(Lane.RSA, clock.now + 1_000)
        clock.now += seconds
        admission.leave(Lane.RSA)


def refusal(admission: Admission, deadline: float, lane: Lane = Lane.RSA) -> StrongroomError:
    with pytest.raises(StrongroomError) as caught:
        admission.enter(lane, deadline)
    return caught.value


def test_a_deadline_that_has_passed_is_refused(admission: Admission, clock: Turned) -> None:
    assert refusal(admission, clock.now).reason is Reason.DEADLINE_EXCEEDED
    assert admission.inside(Lane.RSA) == 0


def test_what_cannot_finish_behind_those_inside_is_refused_with_the_wait(
    admission: Admission, clock: Turned
) -> None:
    learn(admission, clock, 0.1)
    for _ in range(4):
        admission.enter(Lane.RSA, clock.now + 10.0)

    error = refusal(admission, clock.now + 0.3)

    assert error.reason is Reason.OVERLOADED
    assert error.retry_after == pytest.approx(0.4, rel=0.01)
    assert admission.enter(Lane.RSA, clock.now + 0.5) is None


def test_a_lane_is_bounded_however_patient_its_callers_are(admission: Admission, clock: Turned) -> None:
    for _ in range(8):
        admission.enter(Lane.RSA, clock.now + 1e9)

    assert refusal(admission, clock.now + 1e9).reason is Reason.OVERLOADED
    admission.leave(Lane.RSA)
    admission.enter(Lane.RSA, clock.now + 1e9)


def test_another_bound_counts_from_then_on(admission: Admission, clock: Turned) -> None:
    for _ in range(3):
        admission.enter(Lane.QUICK, clock.now + 1e6)
    admission.bound(Lane.QUICK, 3)
    before = refusal(admission, clock.now + 1e6, Lane.QUICK)

    admission.bound(Lane.QUICK, 4)

    assert before.reason is Reason.OVERLOADED
    assert admission.enter(Lane.QUICK, clock.now + 1e6) is None


def test_lanes_do_not_wait_for_each_other(admission: Admission, clock: Turned) -> None:
    learn(admission, clock, 1.0)
    for _ in range(8):
        admission.enter(Lane.RSA, clock.now + 1e9)

    admission.enter(Lane.QUICK, clock.now + 0.01)

    assert (admission.inside(Lane.RSA), admission.inside(Lane.QUICK)) == (8, 1)


def test_an_idle_lane_forgets_that_it_was_slow(admission: Admission, clock: Turned) -> None:
    learn(admission, clock, 1.0)
    clock.now += 1_000

    admission.enter(Lane.RSA, clock.now + 0.01)

    assert admission.inside(Lane.RSA) == 1


def test_a_refusal_always_says_when_to_come_back(admission: Admission, clock: Turned) -> None:
    for _ in range(8):
        admission.enter(Lane.QUICK, clock.now + 1.0)

    wait = refusal(admission, clock.now + 1.0, Lane.QUICK).retry_after

    assert wait is not None
    assert wait >= 0.05


def test_a_slow_token_holds_up_its_own_keys_alone(admission: Admission, clock: Turned) -> None:
    for _ in range(8):
        admission.enter(Lane.RSA, clock.now + 1_000, "slow")

    with pytest.raises(StrongroomError) as caught:
        admission.enter(Lane.RSA, clock.now + 1_000, "slow")
    assert caught.value.reason is Reason.OVERLOADED
    admission.enter(Lane.RSA, clock.now + 0.001)
    assert admission.inside(Lane.RSA) == 9

    clock.now += 5
    admission.leave(Lane.RSA, "slow")
    admission.leave(Lane.RSA)
    assert admission.inside(Lane.RSA) == 7


def test_the_gate_and_the_vault_agree_on_which_curves_are_quick() -> None:
    assert QUICK_CURVES == INLINE_SIGNING


# --- the loop is late


@pytest.mark.parametrize(("share", "late"), [(0.9, False), (1.1, True)])
def test_a_call_that_the_loop_alone_makes_late_is_refused(
    admission: Admission, clock: Turned, share: float, late: bool
) -> None:
    admission.lag.last = share * LAG_SHARE * 0.2
    deadline = clock.now + 0.2

    assert admission.overloaded(deadline) is late
    if late:
        with pytest.raises(StrongroomError) as caught:
            admission.require_time(deadline)
        assert caught.value.reason is Reason.OVERLOADED
        assert caught.value.retry_after
    else:
        admission.require_time(deadline)
    admission.require_time(clock.now + 10.0)


# --- turns


class Room:
    """A lane with room for two, on a loop in virtual time."""

    def __init__(self, most: int = 8) -> None:
        self.clock = LoopClock()
        self.heard: list[float] = []
        self.admission = Admission(
            self.clock,
            dict.fromkeys(Lane, most),
            {Lane.QUICK: 2},
            lambda _, seconds: self.heard.append(seconds),
        )

    def enter(self, seconds: float = 10.0, flow: tuple[str, str] = ("a", "x")) -> Turn | None:
        return self.admission.enter(Lane.QUICK, self.clock.monotonic() + seconds, flow=flow)

    def wait(self, *turns: Turn | None) -> "list[asyncio.Task[None]]":
        return [asyncio.ensure_future(self.admission.wait(turn, Lane.QUICK)) for turn in turns if turn]

    def leave(self) -> None:
        self.admission.leave(Lane.QUICK)

    def numbers(self) -> tuple[int, int]:
        return self.admission.inside(Lane.QUICK), self.admission.waiting(Lane.QUICK)

    async def refusal(self, task: Awaitable[Any]) -> StrongroomError:
        with pytest.raises(StrongroomError) as caught:
            await task
        return caught.value


def virtually(test: Callable[[Room], Awaitable[None]]) -> Callable[[], None]:
    """Run a test in virtual time."""

    def run_it() -> None:
        async def whole() -> None:
            await test(Room())

        run(whole())

    run_it.__name__ = test.__name__
    return run_it


@virtually
async def test_while_there_is_room_nobody_waits(room: Room) -> None:
    assert (room.enter(), room.enter()) == (None, None)
    assert isinstance(room.enter(), Turn)
    assert room.numbers() == (3, 1)


@virtually
async def test_a_place_that_comes_free_goes_to_who_waited_longest(room: Room) -> None:
    room.enter(), room.enter()
    first, second = room.wait(room.enter(), room.enter())
    await asyncio.sleep(0.05)

    room.leave()
    await first

    assert not second.done()
    assert room.heard == [pytest.approx(0.05)]
    room.leave()
    await second
    assert room.numbers() == (2, 0)


@virtually
async def test_nobody_overtakes_those_who_wait(room: Room) -> None:
    room.enter(), room.enter()
    (first,) = room.wait(room.enter())
    await asyncio.sleep(0)
    room.leave()

    late = room.enter()

    assert late is not None
    await first


@virtually
async def test_accounts_take_turns_and_so_do_their_principals(room: Room) -> None:
    room.enter(), room.enter()
    order: list[str] = []

    async def go(flow: tuple[str, str], turn: Turn | None) -> None:
        assert turn is not None
        await room.admission.wait(turn, Lane.QUICK)
        order.append("".join(flow))
        room.leave()

    flows = [("a", "x"), ("a", "x"), ("a", "x"), ("a", "y"), ("b", "z"), ("b", "z")]
    tasks = [asyncio.ensure_future(go(flow, room.enter(flow=flow))) for flow in flows]
    await asyncio.sleep(0)
    room.admission.resize(Lane.QUICK, "", 3)
    await asyncio.gather(*tasks)

    assert order == ["ax", "bz", "ay", "bz", "ax", "ax"]


@virtually
async def test_whoever_would_be_refused_is_told_so_before_any_work_and_nobody_else(room: Room) -> None:
    room.admission.require_turn(Lane.QUICK, room.clock.monotonic() + 0.01, "", ("a", "x"))
    for _ in range(50):
        room.enter()
        await asyncio.sleep(0.05)
        room.leave()
    room.enter(), room.enter()
    before = room.numbers()

    room.admission.require_turn(Lane.QUICK, room.clock.monotonic() + 0.5, "", ("a", "x"))
    with pytest.raises(StrongroomError) as caught:
        room.admission.require_turn(Lane.QUICK, room.clock.monotonic() + 0.06, "", ("a", "x"))

    assert caught.value.reason is Reason.OVERLOADED
    assert caught.value.retry_after
    assert room.numbers() == before


@virtually
async def test_who_waits_too_long_for_its_work_to_be_done_in_time_is_refused(room: Room) -> None:
    for _ in range(50):
        room.enter()
        await asyncio.sleep(0.05)
        room.leave()
    room.enter(), room.enter()
    (task,) = room.wait(room.enter(0.3))
    start = room.clock.monotonic()

    error = await room.refusal(task)

    assert error.reason is Reason.OVERLOADED
    assert 0.2 < room.clock.monotonic() - start < 0.3
    assert room.numbers() == (2, 0)


@virtually
async def test_a_turn_that_comes_too_late_for_the_work_is_a_refusal(room: Room) -> None:
    """How long work takes was not known yet when the caller began to wait."""
    room.enter(), room.enter()
    (task,) = room.wait(room.enter(0.5))
    await asyncio.sleep(0.45)
    assert not task.done()

    room.leave()

    assert (await room.refusal(task)).reason is Reason.OVERLOADED
    assert room.numbers() == (1, 0)


@virtually
async def test_whose_deadline_passes_in_the_queue_is_told_so(room: Room) -> None:
    room.enter(), room.enter()
    (task,) = room.wait(room.enter(0.2))

    assert (await room.refusal(task)).reason is Reason.DEADLINE_EXCEEDED


@virtually
async def test_a_line_that_stands_may_wait_half_as_long(room: Room) -> None:
    room.enter(), room.enter()
    before = room.enter(10.0)
    assert before is not None
    await asyncio.sleep(STANDING * 1.1)
    now = room.clock.monotonic()

    same, other = room.enter(1.0), room.enter(1.0, ("b", "z"))

    assert same is not None
    assert other is not None
    assert same.latest == pytest.approx(now + 0.5)
    assert other.latest == pytest.approx(now + 1.0)


@virtually
async def test_a_caller_that_goes_away_leaves_the_queue(room: Room) -> None:
    room.enter(), room.enter()
    gone, stays = room.wait(room.enter(), room.enter())
    await asyncio.sleep(0)

    gone.cancel()
    await asyncio.sleep(0)

    assert room.numbers() == (3, 1)
    room.leave()
    await stays


@virtually
async def test_a_caller_that_goes_away_at_its_turn_gives_it_on(room: Room) -> None:
    room.enter(), room.enter()
    gone, stays = room.wait(room.enter(), room.enter())
    await asyncio.sleep(0)

    room.leave()
    gone.cancel()
    await asyncio.sleep(0)
    await stays

    assert gone.cancelled()
    assert room.numbers() == (2, 0)


@virtually
async def test_a_full_queue_makes_room_for_a_newcomer_at_the_longest_lines_expense(other: Room) -> None:
    room = Room(most=6)
    for _ in range(2):
        room.enter()
    noisy = room.wait(*(room.enter(flow=("noisy", "n")) for _ in range(4)))
    await asyncio.sleep(0)

    quiet = room.enter(flow=("quiet", "q"))

    assert quiet is not None
    assert (await room.refusal(noisy[-1])).reason is Reason.OVERLOADED
    assert [task.done() for task in noisy] == [False, False, False, True]
    with pytest.raises(StrongroomError) as caught:
        room.enter(flow=("noisy", "n"))
    assert caught.value.reason is Reason.OVERLOADED


@virtually
async def test_calls_that_come_out_late_lower_the_limit_and_those_in_time_raise_it_again(other: Room) -> None:
    clock = LoopClock()
    admission = Admission(clock, dict.fromkeys(Lane, 100), {Lane.QUICK: 10})
    state: Any = admission._lanes[Lane.QUICK]
    for _ in range(40):
        admission.enter(Lane.QUICK, clock.monotonic() + 10)
        await asyncio.sleep(0.05)
        admission.leave(Lane.QUICK, deadline=clock.monotonic() - 0.01)
    assert state.places == 1

    for _ in range(60):
        admission.enter(Lane.QUICK, clock.monotonic() + 10)
        await asyncio.sleep(0.05)
        admission.leave(Lane.QUICK, deadline=clock.monotonic() + 1)

    assert state.places == 10


@virtually
async def test_calls_that_were_inside_together_lower_the_limit_once(other: Room) -> None:
    clock = LoopClock()
    admission = Admission(clock, dict.fromkeys(Lane, 100), {Lane.QUICK: 10})
    state: Any = admission._lanes[Lane.QUICK]
    for _ in range(10):
        admission.enter(Lane.QUICK, clock.monotonic() + 0.1)
    deadline = clock.monotonic() + 0.1
    await asyncio.sleep(0.2)
    for _ in range(10):
        admission.leave(Lane.QUICK, deadline=deadline)

    assert state.places == 8


@virtually
async def test_more_room_lets_those_in_who_wait(room: Room) -> None:
    room.enter(), room.enter()
    waiting = room.wait(*(room.enter() for _ in range(3)))
    await asyncio.sleep(0)

    room.admission.resize(Lane.QUICK, "", None)
    await asyncio.gather(*waiting)

    assert room.numbers() == (5, 0)
