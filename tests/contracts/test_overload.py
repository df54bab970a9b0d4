"""A real token made slow, five times as much asked of it as it can do, and the admission of the core before it."""

import asyncio
import time
from dataclasses import dataclass, field

import pytest
from tests.faults.ill_token import ill
from tests.hsmkeys import OpenedVault, make, soon

from strongroomd.custody.admission import Admission, Lane
from strongroomd.custody.clock import Clock
from strongroomd.custody.fairqueue import Flow
from strongroomd.domain.algorithms import KeySpec
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import BoundVersion

pytestmark = [pytest.mark.softhsm, pytest.mark.timed]
WORK, DEADLINE, SECONDS = 0.02, 0.3, 1.5
NOISY, QUIET = ("111122223333", "noisy"), ("444455556666", "quiet")


@dataclass
class Results:
    times: list[float] = field(default_factory=list)
    refusals: set[Reason] = field(default_factory=set)

    def p99(self) -> float:
        return sorted(self.times)[int(len(self.times) * 0.99)]


async def longest_delay(seconds: float) -> float:
    """The longest time by which the loop, or the machine, was late meanwhile; seconds."""
    longest, end = 0.0, time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        await asyncio.sleep(0.01)
        longest = max(longest, time.monotonic() - now - 0.01)
    return longest


async def call(own: OpenedVault, key: BoundVersion, admission: Admission, flow: Flow, into: Results) -> None:
    start = time.monotonic()
    deadline = start + DEADLINE
    try:
        turn = admission.enter(Lane.QUICK, deadline, flow=flow)
        if turn is not None:
            await admission.wait(turn, Lane.QUICK)
        try:
            await own.vault.seal(key, b"text", b"", deadline=deadline)
            into.times.append(time.monotonic() - start)
        finally:
            admission.leave(Lane.QUICK, deadline=deadline)
    except StrongroomError as error:
        into.refusals.add(error.reason)


async def test_a_slow_token_that_is_overloaded_does_what_it_can_and_refuses_the_rest(
    own: OpenedVault,
) -> None:
    threads = own.token.settings.quick_threads
    key = await make(own.vault, KeySpec.SYMMETRIC_DEFAULT)
    await own.vault.seal(key, b"warm", b"", deadline=soon())
    own.vault._pace._leave(time.monotonic())
    admission = Admission(Clock(), dict.fromkeys(Lane, 64), {Lane.QUICK: 2 * threads})
    noisy, quiet = Results(), Results()

    with ill(own.vault) as token:
        token.be({"function": "C_Encrypt", "seconds": WORK})
        start = time.monotonic()
        await asyncio.gather(*(own.vault.seal(key, b"text", b"", deadline=soon()) for _ in range(40)))
        peak = 40 / (time.monotonic() - start)

        delay = asyncio.ensure_future(longest_delay(SECONDS + DEADLINE))
        calls: list[asyncio.Task[None]] = []
        start = time.monotonic()
        while (passed := time.monotonic() - start) < SECONDS:
            due = int(passed * 5 * peak) - len(calls)
            calls += [asyncio.ensure_future(call(own, key, admission, NOISY, noisy)) for _ in range(due)]
            calls.append(asyncio.ensure_future(call(own, key, admission, QUIET, quiet)))
            await asyncio.sleep(0.04)
        await asyncio.gather(*calls)
        goodput = (len(noisy.times) + len(quiet.times)) / (time.monotonic() - start)

    assert goodput >= 0.5 * peak, "the simulation holds it to more; a shared machine takes some of it"
    assert noisy.p99() < DEADLINE + 2 * await delay, "a call looks at the clock before and after its work"
    assert noisy.refusals <= {Reason.OVERLOADED, Reason.DEADLINE_EXCEEDED}
    assert Reason.OVERLOADED in noisy.refusals
    assert quiet.refusals == set(), "the other's flood is not its affair"
    assert sum(quiet.times) / len(quiet.times) < sum(noisy.times) / len(noisy.times)
