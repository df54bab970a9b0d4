"""An event loop whose time passes only when nothing is left to do: minutes of waiting take milliseconds."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from strongroomd.custody.clock import Clock

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    """Waits by turning the loop's clock."""

    def __init__(self, turn: Callable[[float], None]) -> None:
        super().__init__()
        self._turn = turn

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise AssertionError("everybody waits, and nothing will ever happen")
        self._turn(max(timeout, 0.0))
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its `time` starts at 1,000 seconds."""

    def __init__(self) -> None:
        self._now = 1_000.0
        super().__init__(_Selector(self._pass))

    def _pass(self, seconds: float) -> None:
        self._now += seconds

    def time(self) -> float:
        return self._now


class LoopClock(Clock):
    """The core's clock, told by the running loop."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
