"""Letting worker threads run beside a busy loop.

A loop that is never idle gives the GIL up and takes it back faster than a waiting thread wakes, again and
again; CPython counts a thread as starving only if nobody released the GIL in the meantime. Measured beside a
loop kept busy on purpose: a read of one record waited 1.2 s for the GIL. So while work is with a thread, the
loop stands back for a moment every two milliseconds.
"""

import asyncio
import time
from types import TracebackType
from typing import Final

TICK: Final = 0.002  # seconds
PAUSE: Final = 0.0001  # seconds: enough for a thread to wake


class Standback:
    """Open it around waiting for a thread; belongs to one loop, and may be open many times at once."""

    def __init__(self) -> None:
        self._open = 0
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._open += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK, self._stand_back)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open -= 1

    def _stand_back(self) -> None:
        self._timer = None
        if self._open:
            time.sleep(PAUSE)
            self._timer = asyncio.get_running_loop().call_later(TICK, self._stand_back)
