"""Whether a token's short calls run on the event loop or on threads: decided by how long they take.

On the loop a call costs nobody a hop to another thread, and holds up everybody for as long as it takes. So
calls run there while they are short, and move to a lane of threads when they are long: at once when one took
`VERY_LONG`, or when `MANY` took `LONG` within a second. A call that only waited for the host's own
processors counts for nothing: a thread that waits for a token goes to sleep, and the kernel counts that.

Times on threads say less, since a thread also waits for the GIL: one call in twenty may take five times
`LONG`, but half of them must be short and none very long for `SETTLED` seconds. Then calls go back to the
loop, and if that was too early, stay away twice as long the next time.

A call that holds the loop up for longer than the supervisor bears ends the worker, and a successor that began
on the loop would end in the same way. So it is told to be wary: it begins on threads, and stays for as long
as it may get.
"""

import resource
import threading
import time
from dataclasses import dataclass
from typing import Final

from strongroomd.hsm.observer import Observer

LONG: Final = 0.002  # seconds: what ten hops to a thread and back cost
VERY_LONG: Final = 0.1  # seconds: the scheduler of a busy host takes half of that away from a thread
MANY: Final = 3
SETTLED: Final = 3.0  # seconds
MOST_SETTLED: Final = 60.0
_WINDOW: Final = 1.0
_NOISE: Final = 5 * LONG
_NOISY: Final = 20  # of so many calls one may be noise


@dataclass(frozen=True, slots=True)
class Mark:
    """What the kernel has counted of a thread.

    Attributes:
        busy: seconds that it was on a processor (of the thread's clock: ru_utime is as old as the last tick).
        waited: how often it went to sleep.
    """

    busy: float
    waited: int


class Pace:
    """One token's pace. Made on the loop's thread, to which all of it belongs but `ran`.

    Args:
        observer: hears of changes.
        wary: begin on threads, as if the loop had often been gone back to too early.

    Attributes:
        inline: whether short calls run on the loop.
    """

    def __init__(self, observer: Observer, *, wary: bool = False) -> None:
        self.inline = not wary
        self._observer = observer
        self._thread = threading.get_ident()
        self._since = 0.0
        self._count = 0
        self._returned = 0.0
        self._settle = MOST_SETTLED if wary else SETTLED
        self._good = 0.0
        self._ends = 0.0
        self._calls = self._short = self._noise = self._very_long = 0
        observer.paced(inline=self.inline)

    # --- on the loop ---

    def took(self, seconds: float, mark: Mark, *, alone: bool = True) -> None:
        """Hear of a call that took at least `LONG`; of one on another thread than the loop's, in vain.

        Args:
            seconds: how long.
            mark: from before the call.
            alone: it was one call into the module; else it was several, and only a very long one counts.
        """
        if not self.inline or threading.get_ident() != self._thread or _was_kept_waiting(mark):
            return
        now = time.monotonic()
        if now - self._since > _WINDOW:
            self._since, self._count = now, 0
        self._count += alone
        if seconds >= VERY_LONG or self._count >= MANY:
            self._leave(now)

    def _leave(self, now: float) -> None:
        relapsed = now - self._returned < MOST_SETTLED
        self._settle = min(2 * self._settle, MOST_SETTLED) if relapsed else SETTLED
        self._good = 0.0
        self._begin(now)
        self.inline = False
        self._observer.paced(inline=False)

    # --- on threads ---

    def ran(self, seconds: float) -> None:
        """Hear of a call on the lane; any thread, and a count lost between two threads is bearable."""
        self._calls += 1
        self._short += seconds < LONG
        self._noise += seconds >= _NOISE
        self._very_long += seconds >= VERY_LONG

    def review(self, longest: float) -> None:
        """Go back to the loop if calls have been short for long enough; asked before each call on the lane.

        Args:
            longest: age in seconds of the oldest call that runs on the lane.
        """
        now = time.monotonic()
        if self.inline or now < self._ends or not self._calls:
            return
        well = longest < VERY_LONG and not self._very_long
        well = well and self._noise * _NOISY <= self._calls and self._short * 2 >= self._calls
        self._good = self._good + _WINDOW if well else 0.0
        self._begin(now)
        if self._good >= self._settle:
            self.inline, self._returned, self._count = True, now, 0
            self._observer.paced(inline=True)

    def _begin(self, now: float) -> None:
        self._ends = now + _WINDOW
        self._calls = self._short = self._noise = self._very_long = 0


def mark() -> Mark:
    """Ask the kernel about this thread; to be done before each call on the loop, which costs it 1.3 us."""
    return Mark(time.thread_time(), resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw)


def _was_kept_waiting(before: Mark) -> bool:
    """Whether the thread never slept since, but was not let run: by other processes, or another machine."""
    now = mark()
    return now.waited == before.waited and now.busy - before.busy < LONG
