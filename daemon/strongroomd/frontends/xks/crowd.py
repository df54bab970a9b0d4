"""How many requests a worker may be answering while its loop is late.

A call that needs no thread waits nowhere but in the loop itself: each request that is taken in makes all
others later. So when the loop is late, the number inside is brought down to what would have made it `TARGET`
late, and let up again one by one, and all at once when it kept nobody out for a while. Without such a number
a loop that is late refuses all that it reads, is in time then, takes all in, and is late again. Where few are
inside it is something else that made the loop late (the machine, a call into the token), and to send away
what came meanwhile would help nobody.
"""

import math
import time
from collections import Counter
from typing import Final

from strongroomd.telemetry.lag import STEP, Lag

TARGET: Final = 0.025  # seconds: a call passes the loop three times, and KMS waits 250 ms
LATE: Final = 0.01
LEAST: Final = 96  # inside, while the loop is somewhat late: 15 to 40 ms of work; a store alone has half
FEWEST: Final = 32  # the same at another cut when it is far later: calls cost more than they mostly do
_FAR: Final = 4  # times `TARGET`
REMEMBERED: Final = 10.0
"""Seconds for which a cut is remembered, or whom it kept out: a flood at rest leaves the loop in time."""
_REFUSED: Final = 16  # between two looks: a tenth of the loop; rests that are not long would never end that
_AT_ONCE: Final = 4  # looks in which half of the room is filled by those who come back
_MOST_CUT: Final = 0.3
_LEAST_CUT: Final = 0.9


class Crowd:
    """The requests inside one worker, by store. Belongs to its loop.

    Args:
        lag: how late the loop is.
        most: requests that may be inside at any time.

    Attributes:
        inside: how many are.
        limit: how many may be now.
    """

    def __init__(self, lag: Lag, most: int) -> None:
        self.inside = 0
        self.limit = float(most)
        self._lag = lag
        self._most = most
        self._seen = lag.due
        self._cut_at = -math.inf
        self._peak = self._peak_before = 0
        self._refused = self._by_room = 0
        self._of_stores: Counter[str] = Counter()

    @property
    def is_late(self) -> bool:
        """Whether the loop is so late that there is more to do than to take in strangers."""
        return self._lag.last > LATE

    @property
    def is_cut(self) -> bool:
        """Whether fewer may be inside than configured, or too many came lately: the processor is short."""
        return self.limit < self._most or self._lag.due - self._cut_at < REMEMBERED

    def spare(self) -> int:
        """Say how many of those who rest may come back now: few, and none while the loop is `TARGET` late.

        What they sent meanwhile may be answered at once, and what they send next comes soon.
        """
        self._look()
        if self._lag.now(time.monotonic()) > TARGET:
            return 0
        room = min(self.limit, LEAST) / 2 - max(self._peak, self._peak_before)
        return max(0, math.ceil(room / _AT_ONCE))

    def resize(self, most: int) -> None:
        """Let another number be inside at most; what was cut comes up to it as it would have."""
        cut = self.limit < self._most
        self._most = most
        self.limit = min(self.limit, most) if cut else float(most)

    def is_full(self, store: str) -> bool:
        """Say whether one more of a store is too many; no store keeps the others out of the second half."""
        self._look()
        half = self.limit / 2
        full = self.inside >= self.limit or (self.inside > half and self._of_stores[store] >= half)
        if full and self.limit < self._most:
            self._cut_at = self._lag.due  # it is the cut that keeps them out: it is not over yet
        return full

    def enter(self, store: str) -> None:
        """Count a request in."""
        self.inside += 1
        self._of_stores[store] += 1
        self._peak = max(self._peak, self.inside)

    def leave(self, store: str) -> None:
        """Count it out."""
        self.inside -= 1
        self._of_stores[store] -= 1
        if not self._of_stores[store]:
            del self._of_stores[store]

    def refused(self, *, by_room: bool = True) -> None:
        """Hear that a request was sent away: that takes time, too, and may be because the loop is late.

        Args:
            by_room: whether for want of time or room here, and not for a limit of its store or its token.
        """
        self._look()
        self._refused += 1
        self._by_room += by_room

    def _look(self) -> None:
        if self._lag.due != self._seen:
            self._adapt()

    def _adapt(self) -> None:
        """Once for each look at the loop: cut at once by as much as it was late, or let one more in.

        If it is those who are sent away that are too many, fewer inside would not help: they shall rest
        longer.
        """
        late, due = self._lag.last, self._lag.due
        many = max(FEWEST, min(LEAST, self._most)) / 2
        # Of longer ago than the time that the loop was late for nothing is known.
        recent = due - self._seen < 2 * STEP + late
        if recent and late > TARGET and self._peak + self._refused > many:
            if self._peak > many:
                self._cut(late)
            self._cut_at = due
        elif recent and late > LATE and self._by_room > _REFUSED:
            self._cut_at = due
        elif late < TARGET / 2:
            self.limit = self._most if due - self._cut_at > REMEMBERED else min(self.limit + 1, self._most)
        self._seen, self._peak_before, self._peak = due, self._peak, self.inside
        self._refused = self._by_room = 0

    def _cut(self, late: float) -> None:
        share = min(_LEAST_CUT, max(_MOST_CUT, TARGET / late))
        least = FEWEST if late > _FAR * TARGET and self.is_cut else LEAST
        bound = max(min(least, self._most / 2), min(self.limit, self._peak) * share)
        self.limit = min(self.limit, bound)
