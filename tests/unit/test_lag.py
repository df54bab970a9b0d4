"""How late the loop is, measured on a loop that is held up on purpose."""

import asyncio
import time

import pytest

from strongroomd.telemetry.lag import STEP, Lag


async def test_a_loop_that_is_held_up_is_late() -> None:
    lag = Lag()
    lag.start()
    await asyncio.sleep(0)
    time.sleep(0.1)  # noqa: ASYNC251 - this is the hold-up

    seen_before_the_look = lag.now(time.monotonic())
    while lag.last == 0.0:  # noqa: ASYNC110 - the look changes it
        await asyncio.sleep(0.001)

    assert 0.1 - STEP <= seen_before_the_look <= lag.last
    lag.stop()


async def test_a_loop_with_nothing_to_do_recovers() -> None:
    lag = Lag()
    lag.start()
    time.sleep(0.1)  # noqa: ASYNC251
    async with asyncio.timeout(10):
        while not 0.0 < lag.now(time.monotonic()) < 0.05:  # noqa: ASYNC110
            await asyncio.sleep(STEP)
    lag.stop()


@pytest.mark.parametrize("stop", [False, True], ids=["never started", "stopped"])
async def test_nobody_is_late_while_nobody_looks(stop: bool) -> None:
    lag = Lag()
    if stop:
        lag.start()
        lag.stop()

    assert lag.now(time.monotonic() + 1_000) == 0.0
