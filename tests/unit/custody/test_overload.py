"""A token that is asked for more than it can do: simulated in virtual time, with the real admission before it."""

import asyncio
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.virtualtime import LoopClock, run

from strongroomd.custody.admission import Admission, Lane
from strongroomd.custody.fairqueue import Flow
from strongroomd.domain.errors import Reason, StrongroomError

THREADS = 4
WORK = 0.02  # seconds of a thread, in the mean
CAPACITY = THREADS / WORK  # calls a second
DEADLINE = 0.2
QUIET, NOISY = ("111122223333", "quiet"), ("444455556666", "noisy")


@dataclass
class Caller:
    """What one flow's calls met with."""

    flow: Flow
    sent: int = 0
    times: list[float] = field(default_factory=list)
    refusals: list[StrongroomError] = field(default_factory=list)

    @property
    def done(self) -> int:
        return sum(time <= DEADLINE for time in self.times)

    def p99(self) -> float:
        return sorted(self.times)[int(len(self.times) * 0.99)]


class Token:
    """Threads that take calls in the order in which they come; how long a call takes is drawn."""

    def __init__(self, seed: int = 1) -> None:
        self.threads = asyncio.Semaphore(THREADS)
        self.draw = random.Random(seed)
        self.slow = 1.0

    async def work(self) -> None:
        sigma = 0.5
        async with self.threads:
            await asyncio.sleep(self.slow * WORK * math.exp(self.draw.gauss(-sigma * sigma / 2, sigma)))


class World:
    """Callers, admission and a token."""

    def __init__(self, room: int | None = THREADS + 1) -> None:
        self.clock = LoopClock()
        bounds = dict.fromkeys(Lane, 64)
        self.admission = Admission(self.clock, bounds, {} if room is None else {Lane.QUICK: room})
        self.token = Token()
        self.most_waiting = 0
        self.calls: set[asyncio.Task[None]] = set()

    async def call(self, caller: Caller) -> None:
        admission, start = self.admission, self.clock.monotonic()
        deadline = start + DEADLINE
        try:
            turn = admission.enter(Lane.QUICK, deadline, flow=caller.flow)
            self.most_waiting = max(self.most_waiting, admission.waiting(Lane.QUICK))
            if turn is not None:
                await admission.wait(turn, Lane.QUICK)
        except StrongroomError as error:
            caller.refusals.append(error)
            return
        try:
            async with asyncio.timeout(deadline - self.clock.monotonic()):
                await self.token.work()
            caller.times.append(self.clock.monotonic() - start)
        except TimeoutError:
            caller.times.append(DEADLINE * 2)
        finally:
            admission.leave(Lane.QUICK, deadline=deadline)

    async def send(self, caller: Caller, rate: float, seconds: float) -> None:
        """Calls that come at random, so many a second, whatever becomes of them."""
        draw = random.Random(str(caller.flow))
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            await asyncio.sleep(draw.expovariate(rate))
            caller.sent += 1
            task = asyncio.ensure_future(self.call(caller))
            self.calls.add(task)
            task.add_done_callback(self.calls.discard)

    async def settle(self) -> None:
        await asyncio.gather(*self.calls)


async def flood(times: float, seconds: float, make: Callable[[], World] = World) -> tuple[World, Caller]:
    world, caller = make(), Caller(NOISY)
    await world.send(caller, times * CAPACITY, seconds)
    await world.settle()
    return world, caller


@pytest.mark.parametrize("times", [2, 5, 15])
def test_goodput_stays_near_its_peak_whatever_is_asked_for(times: float) -> None:
    world, caller = run(flood(times, 5.0))

    assert caller.done >= 0.9 * CAPACITY * 5.0
    assert caller.p99() < DEADLINE
    assert len(caller.times) + len(caller.refusals) == caller.sent
    assert {error.reason for error in caller.refusals} == {Reason.OVERLOADED}
    assert all((error.retry_after or 0) > 0 for error in caller.refusals)
    assert world.most_waiting <= 64
    assert world.admission.inside(Lane.QUICK) == 0


def test_without_a_queue_of_its_own_the_same_load_would_be_late() -> None:
    """The simulation can fail: with the room of a lane that queues by itself, calls miss their deadlines."""
    _, caller = run(flood(5, 5.0, lambda: World(room=40)))

    assert caller.p99() > DEADLINE


def test_below_capacity_nobody_is_refused() -> None:
    _, caller = run(flood(0.8, 10.0))

    assert caller.refusals == []
    assert caller.done == caller.sent


def test_a_burst_that_can_be_done_in_time_is_done() -> None:
    async def burst() -> Caller:
        world, caller = World(), Caller(NOISY)
        await asyncio.gather(*(world.call(caller) for _ in range(20)))
        return caller

    caller = run(burst())

    assert (len(caller.times), caller.refusals) == (20, [])
    assert max(caller.times) <= DEADLINE


def test_a_quiet_flow_hardly_notices_when_another_sends_ten_times_its_share() -> None:
    async def beside(share: float) -> Caller:
        world, quiet, noisy = World(), Caller(QUIET), Caller(NOISY)
        sending = world.send(quiet, 0.2 * CAPACITY, 30.0), world.send(noisy, share * CAPACITY / 2, 30.0)
        await asyncio.gather(*sending)
        await world.settle()
        return quiet

    within_its_share, beyond = run(beside(1.0)), run(beside(10.0))

    assert beyond.refusals == []
    assert beyond.p99() <= 1.2 * within_its_share.p99()


def test_principals_of_one_account_share_its_turn() -> None:
    async def race() -> tuple[int, int]:
        world = World()
        many = [Caller((NOISY[0], f"principal-{number}")) for number in range(8)]
        other = Caller(QUIET)
        sending = [world.send(caller, 5 * CAPACITY / 8, 4.0) for caller in many]
        await asyncio.gather(*sending, world.send(other, CAPACITY, 4.0))
        await world.settle()
        return sum(caller.done for caller in many), other.done

    crowd, single = run(race())

    assert 0.8 < crowd / single < 1.25


def test_flows_within_an_account_share_evenly() -> None:
    async def race() -> list[int]:
        world = World()
        callers = [Caller((NOISY[0], name)) for name in ("greedy", "modest", "other")]
        rates = (5, 1, 1)
        await asyncio.gather(*(world.send(c, r * CAPACITY, 4.0) for c, r in zip(callers, rates, strict=True)))
        await world.settle()
        return [caller.done for caller in callers]

    done = run(race())

    assert max(done) < 1.3 * min(done)


def test_a_token_that_stalls_lets_everybody_go_in_time_and_is_used_again_afterwards() -> None:
    async def stall() -> tuple[Caller, Caller, float]:
        world, during, after = World(), Caller(NOISY), Caller(QUIET)
        world.token.slow = 1_000.0
        start = world.clock.monotonic()
        await world.send(during, CAPACITY, 2.0)
        await world.settle()
        took = world.clock.monotonic() - start
        world.token = Token()
        await world.send(after, 0.8 * CAPACITY, 5.0)
        await world.settle()
        return during, after, took

    during, after, took = run(stall())

    assert during.done == 0
    assert took < 2.0 + 2 * DEADLINE
    assert {e.reason for e in during.refusals} <= {Reason.OVERLOADED, Reason.DEADLINE_EXCEEDED}
    assert after.done >= 0.95 * after.sent


def test_memory_does_not_grow_with_refusals() -> None:
    async def sizes() -> list[int]:
        world = World()
        found: list[int] = []
        world.token.slow = 1_000.0
        for number in itertools.count():
            if number == 4:
                return found
            caller = Caller((str(number % 2), "flood"))
            await world.send(caller, 10 * CAPACITY, 0.5)
            await world.settle()
            state: Any = world.admission._lanes[Lane.QUICK]
            found.append(len(state.queue) + len(state.queue._accounts._due))
        raise AssertionError

    assert run(sizes()) == [0, 0, 0, 0]
