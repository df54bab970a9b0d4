"""What is done again and again, by each worker or by the elected one alone."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from strongroomd.custody.upkeep import Upkeep
from strongroomd.domain.errors import Fault, StrongroomError
from strongroomd.telemetry import logs
from strongroomd.telemetry.metrics import Metrics

Work = Callable[[], Awaitable[object]]
STAND_SECONDS = 2.0  # the lease is renewed so often
_log = logs.get("wiring")


class Rounds:
    """Background tasks, on the event loop."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def every(self, seconds: float, work: Work, *, first: float | None = None) -> None:
        """Begin to do something, `first` seconds from now and then so many after it was done."""

        async def repeat() -> None:
            await asyncio.sleep(seconds if first is None else first)
            while True:
                await guarded(work)
                await asyncio.sleep(seconds)

        self._tasks.append(asyncio.create_task(repeat()))

    async def stop(self) -> None:
        """Cancel everything, and wait until it ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def guarded(work: Work) -> None:
    """Do something in the background; a failure is logged and it is tried again when its time comes."""
    try:
        await work()
    except StrongroomError as error:
        _log.warning("background task failed", reason=error.reason.value, detail=error.detail)
    except Exception as error:  # noqa: BLE001 - a background task must not end silently
        _log.error("background task failed", exc_info=error)


class Election:
    """Whether this worker is the elected one.

    Args:
        upkeep: has the lease.
        metrics: where it is told.
    """

    def __init__(self, upkeep: Upkeep, metrics: Metrics) -> None:
        self._upkeep = upkeep
        self._metrics = metrics
        self._stood_at = 0.0
        self.leading = False

    async def stand(self) -> None:
        """Take or renew the lease, every two seconds however often this is called."""
        now = time.monotonic()
        if now - self._stood_at < STAND_SECONDS:
            return
        self._stood_at = now
        try:
            self.leading = await self._upkeep.elected()
        except StrongroomError as error:
            self.leading = False
            if error.fault is not Fault.OPERATOR:
                raise
        self._metrics.upkeep_leader.set(self.leading)

    def only(self, work: Work) -> Work:
        """Have something done while this worker is the elected one."""

        async def run() -> None:
            if self.leading:
                await work()

        return run

    def resign(self) -> bool:
        """Lead no more, without renewing the lease; says whether this worker did."""
        led, self.leading = self.leading, False
        return led
