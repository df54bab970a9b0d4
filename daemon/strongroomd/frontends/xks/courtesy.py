"""Who asks for more than its own limit, or for what is refused anyway, lets the others go first.

Within its limit a store's calls are as good as anybody's. But one that asks for ten times as much comes in
clumps: as many of its calls as arrive together find the same unspent quota, and each but one costs most of a
call to be refused. So while a store is refused for its limit, each call of it that may be served waits until
no other call is under way, or it took long enough (25 ms at most), and is looked at again then.

So does the next call on a connection whose last one was wrong (a bad signature, a forged ciphertext), and the
first one on a new connection: nobody who calls as he should waits for a clump of them.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Final

LONGEST: Final = 0.01  # seconds: a busy worker is never idle, and the store's limit is its due
APART: Final = 0.001  # seconds between two that have waited so long: they came together, and shall not go so
MOST: Final = 16  # that wait; beyond, each would wait for too long for the others, and goes at once
REMEMBERED: Final = 1.0
"""Seconds after its last refusal in which a store still lets others go first."""


class Courtesy:
    """The calls of one worker that wait for others. Belongs to its loop.

    Args:
        is_busy: whether any call is being served.
    """

    def __init__(self, is_busy: Callable[[], bool]) -> None:
        self._is_busy = is_busy
        self._refused: dict[str, float] = {}
        self._waiting: dict[asyncio.Future[None], float] = {}  # in their order; until when at most
        self._going = 0
        self._timer: asyncio.TimerHandle | None = None
        self._signers: Counter[str] = Counter()

    def refused(self, store: str) -> None:
        """Hear that a store was refused for its own limit."""
        self._refused[store] = time.monotonic()

    def is_due(self, store: str) -> bool:
        """Say whether a store's call is to let others go first."""
        refused = self._refused.get(store)
        if refused is None:
            return False
        if time.monotonic() - refused < REMEMBERED:
            return True
        del self._refused[store]
        return False

    def ahead(self, store: str) -> int:
        """Give how many calls of a store wait, and will spend what is left of its limit."""
        return self._signers.get(store, 0)

    @asynccontextmanager
    async def last(self, store: str, *, signs: bool) -> AsyncIterator[None]:
        """Be the last of those who are here: enter when no call is under way, or it took long enough.

        Args:
            store: whose call it is.
            signs: whether it comes from where that store's good signatures come from: only such calls count
                as `ahead`, or strangers could have a store's own calls refused.
        """
        if len(self._waiting) < MOST and (self._going or self._waiting or self._is_busy()):
            with self._counted(store) if signs else nullcontext():
                await self._turn()
        self._going += 1
        try:
            yield
        finally:
            self._going -= 1
            self.idle()

    def idle(self) -> None:
        """Hear that perhaps no call is under way: whoever waits longest goes on."""
        if self._waiting and not self._going and not self._is_busy():
            _go(next(iter(self._waiting)))

    @contextmanager
    def _counted(self, store: str) -> Iterator[None]:
        """Count a call as `ahead`; nothing stays of what was counted."""
        self._signers[store] += 1
        try:
            yield
        finally:
            self._signers[store] -= 1
            if not self._signers[store]:
                del self._signers[store]

    async def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting[turn] = loop.time() + LONGEST
        if self._timer is None:
            self._timer = loop.call_later(LONGEST, self._overdue)
        try:
            await turn
        finally:
            del self._waiting[turn]

    def _overdue(self) -> None:
        """Let the first one go that has waited long enough, and come again for the next."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        turns = [turn for turn in self._waiting if not turn.done()]
        if turns and self._waiting[turns[0]] <= now:
            _go(turns.pop(0))
        due = max(self._waiting[turns[0]], now + APART) if turns else 0.0
        self._timer = loop.call_at(due, self._overdue) if turns else None


def _go(turn: "asyncio.Future[None]") -> None:
    if not turn.done():
        turn.set_result(None)
