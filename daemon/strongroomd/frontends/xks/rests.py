"""Connections at a long rest: how long it has to be, and who comes back before its end.

Where the processor is short and a thousand connections flood, each comes back from its rest only to be
refused again, and that alone can be a tenth of what a worker does and more. So as many as rest already make
the next one's rest longer: all that call one store come back at about `A_SECOND` together, unless there is
room for more. Those that brought the store's good signatures are counted by themselves, for strangers shall
not make a store's own callers rest for long; and who has brought none rests for others only if he is refused
a second time, for he may be a caller of the store on a new connection.

A rest that was too long would leave the worker idle, and a flood that has ended would be remembered by nobody
but those who wait. So while there is room, who rests longest is read again before its time.
"""

import asyncio
from collections import Counter, OrderedDict
from typing import Final, Protocol

from strongroomd.frontends.xks.crowd import Crowd
from strongroomd.telemetry.lag import STEP

SHORT: Final = (
    0.1  # seconds, at most, so that what waits in a connection is still answered before KMS gives up
)
LONG: Final = 12.8  # where the worker cannot even refuse all that comes, and most of it is never read
A_SECOND: Final = 100
"""Connections of one kind that come back: at two refusals each, three hundredths of a worker."""


class Sleeper(Protocol):
    """A connection that is not read."""

    def wake(self) -> None:
        """Be read again; hears of `Rests.end`."""


class Rests:
    """Those of one worker. Belongs to its loop.

    Args:
        crowd: says whether there is room.
    """

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._resting: OrderedDict[Sleeper, tuple[str, bool]] = OrderedDict()
        self._of_kinds: Counter[tuple[str, bool]] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def __contains__(self, sleeper: Sleeper) -> bool:
        """Say whether it rests."""
        return sleeper in self._resting

    def begin(self, sleeper: Sleeper, store: str, *, signs: bool) -> float:
        """Count one in; gives for how many seconds it should rest at least, if that is not over `LONG`.

        Args:
            sleeper: who rests.
            store: the path prefix that it called.
            signs: whether it brings that store's good signatures.
        """
        self.end(sleeper)
        kind = store, signs
        self._resting[sleeper] = kind
        self._of_kinds[kind] += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(STEP, self._look)
        return (self._of_kinds[kind] - 1) / A_SECOND

    def end(self, sleeper: Sleeper) -> None:
        """Count it out, if it was counted in."""
        kind = self._resting.pop(sleeper, None)
        if kind is not None:
            self._of_kinds[kind] -= 1
            if not self._of_kinds[kind]:
                del self._of_kinds[kind]
        if self._timer is not None and not self._resting:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """Wake as many as there is room for, and look again while anybody rests."""
        self._timer = asyncio.get_running_loop().call_later(STEP, self._look)
        for _ in range(min(self._crowd.spare(), len(self._resting))):
            next(iter(self._resting)).wake()
