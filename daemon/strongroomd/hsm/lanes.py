"""Threads for token calls that would hold the event loop too long: bounded, counted, watched.

A C call cannot be interrupted: when a caller's deadline passes, the caller is let go, the call runs on, and
`longest` shows it to the worker's heartbeat.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar

from strongroomd.domain.errors import Reason, StrongroomError

P = ParamSpec("P")
T = TypeVar("T")


class Lane:
    """A few threads and a bounded queue.

    Args:
        name: for thread names and as the kind that `longest` reports.
        threads: how many.
        bound: calls that may wait beyond those running.
        waited: told, on any thread, how many seconds each call waited for a thread.
    """

    def __init__(
        self, name: str, threads: int, bound: int, waited: Callable[[float], None] | None = None
    ) -> None:
        self.name = name
        self._waited = waited
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=f"hsm-{name}")
        self._capacity = threads + bound
        self._load = 0
        self._running: dict[int, float] = {}
        self._counting = threading.Lock()

    @property
    def load(self) -> int:
        """Calls running or waiting."""
        return self._load

    async def run(self, deadline: float, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the work on a thread, unless the deadline (time.monotonic seconds) passes before it starts.

        Raises:
            StrongroomError: OVERLOADED when the queue is full, DEADLINE_EXCEEDED.
        """
        return await self.run_then(_nothing, deadline, work, *args, **kwargs)

    async def run_then(
        self,
        done: Callable[[], object],
        deadline: float,
        work: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """The same.

        `done` is called, on any thread, exactly once when the work is over or was never begun.
        """
        try:
            future, left = self._submit(deadline, work, args, kwargs)
        except StrongroomError:
            done()
            raise
        future.add_done_callback(lambda _: done())
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), left)
        except TimeoutError:
            raise StrongroomError(Reason.DEADLINE_EXCEEDED) from None

    def post(self, work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Do small work on a thread some time, beyond the bound and without an answer."""
        with self._counting:
            self._load += 1
        with suppress(RuntimeError):  # the lane is closing: the token's session objects go with their session
            self._executor.submit(self._watched, work, args, kwargs).add_done_callback(self._finished)

    def _submit(
        self, deadline: float, work: Callable[..., T], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> tuple[Future[T], float]:
        left = deadline - time.monotonic()
        if left <= 0:
            raise StrongroomError(Reason.DEADLINE_EXCEEDED)
        if self._load >= self._capacity:
            raise StrongroomError(Reason.OVERLOADED, detail=f"lane {self.name} is full", retry_after=0.5)
        with self._counting:
            self._load += 1
        future: Future[T] = self._executor.submit(self._begun, time.monotonic(), work, args, kwargs)
        future.add_done_callback(self._finished)
        return future, left

    def longest(self) -> float:
        """Seconds that the oldest running call has been inside its thread; 0 when none runs."""
        started = min(self._running.copy().values(), default=None)
        return 0.0 if started is None else time.monotonic() - started

    def close(self) -> None:
        """Refuse further calls and wait for those running."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _begun(
        self, since: float, work: Callable[..., T], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> T:
        if self._waited is not None:
            self._waited(time.monotonic() - since)
        return self._watched(work, args, kwargs)

    def _watched(self, work: Callable[..., T], args: tuple[object, ...], kwargs: dict[str, object]) -> T:
        thread = threading.get_ident()
        self._running[thread] = time.monotonic()
        try:
            return work(*args, **kwargs)
        finally:
            del self._running[thread]

    def _finished(self, _: Future[T]) -> None:
        with self._counting:
            self._load -= 1


def _nothing() -> None:
    """Do nothing when work is over."""
