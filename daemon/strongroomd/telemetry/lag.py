"""How late the event loop is: what a call has waited before any code of ours saw it."""

import asyncio
import time
from typing import Final

STEP: Final = 0.02  # seconds between two looks: fifty wakings a second cost a thousandth of a processor


class Lag:
    """One loop's lateness, in seconds of the monotonic clock. All of it belongs to that loop.

    Attributes:
        last: how late the last look was.
        due: when the next one should be; infinity while nobody looks.
    """

    def __init__(self) -> None:
        self.last = 0.0
        self.due = float("inf")
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look; on the loop."""
        self._schedule(time.monotonic())

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
        self.last, self.due = 0.0, float("inf")

    def now(self, now: float) -> float:
        """Say how late the loop is: as it was at the last look, or more if the next one is overdue."""
        overdue = now - self.due
        return max(self.last, overdue)

    def _look(self) -> None:
        now = time.monotonic()
        self.last = max(now - self.due, 0.0)
        self._schedule(now)

    def _schedule(self, now: float) -> None:
        self.due = now + STEP
        self._timer = asyncio.get_running_loop().call_later(STEP, self._look)
