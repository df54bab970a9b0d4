"""The lane of short calls that have become long; see pace.py for when it is used.

The loop's caches stay on the loop: only what is called with handles in hand runs here.
"""

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from strongroomd.hsm.lanes import Lane
from strongroomd.hsm.observer import Observer
from strongroomd.hsm.pace import Pace

P = ParamSpec("P")
T = TypeVar("T")

QUEUE = 256  # calls that may wait for a thread: admission sends few more than there are threads


class Quick:
    """Threads for a token's short calls.

    Args:
        threads: how many.
        pace: hears how long calls take, and says whether this is needed at all.
        observer: hears of waits.

    Attributes:
        lane: the threads.
        pace: as given.
    """

    def __init__(self, threads: int, pace: Pace, observer: Observer) -> None:
        self.lane = Lane("quick", threads, QUEUE, observer.waited)
        self.pace = pace

    @property
    def unused(self) -> bool:
        """Whether the loop may do itself what the lane might do: no thread has the keeper's session."""
        return self.pace.inline and self.lane.load == 0

    async def run(self, deadline: float, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the work on a thread. Raises what `Lane.run` raises."""
        return await self.run_then(_nothing, deadline, work, *args, **kwargs)

    async def run_then(
        self,
        done: Callable[[], object],
        deadline: float,
        work: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """The same, see `Lane.run_then`."""
        self.pace.review(self.lane.longest())
        return await self.lane.run_then(done, deadline, self._timed, work, args, kwargs)

    def tidy(self, work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Do small work that nobody waits for, here if that cannot hold the loop up."""
        if self.unused:
            work(*args, **kwargs)
        else:
            self.lane.post(work, *args, **kwargs)

    def _timed(self, work: Callable[..., T], args: tuple[object, ...], kwargs: dict[str, object]) -> T:
        start = time.perf_counter()
        try:
            return work(*args, **kwargs)
        finally:
            self.pace.ran(time.perf_counter() - start)


def _nothing() -> None:
    """Do nothing when work is over."""
